"""Long to wide: one row per run, one column per parameter, result and metric."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl

from mlrun.errors import WhereError
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrun.where.ast import Name

__all__ = ["RUN_COLUMNS", "aggregate", "widen"]

RUN_COLUMNS = (
    "run_id", "name", "project", "state", "kind", "function", "parent", "iteration", "group", "user", "host",
    "started_at", "finished_at", "duration", "tags", "labels", "notes", "error", "dropped",
)  # fmt: skip


def widen(
    ids: Sequence[str], tables: Mapping[str, pl.DataFrame], wanted: Iterable[Name] | None
) -> pl.DataFrame:
    """Build the frame of `mlrun.runs` for these ids, in their order.

    Args:
        ids: the runs, in order.
        tables: RUNS, and those of TAGS, PARAMS, RESULTS and SUMMARIES that `wanted` needs, in long form.
        wanted: the columns, in order; None for all: the run's own, then `params.*`, `results.*` and `metrics.*`,
            each sorted by name.
    """
    order = pl.DataFrame({"run_id": pl.Series(ids, dtype=pl.String)}).with_row_index("at")
    names = None if wanted is None else list(wanted)
    out = [_run_columns(order, tables)]
    out += _typed(order, tables.get(PARAMS.name), "params", names)
    out += _typed(order, tables.get(RESULTS.name), "results", names)
    out += _metrics(order, tables.get(SUMMARIES.name), names)
    wide = pl.concat(out, how="horizontal")
    if names is None:
        return wide
    return wide.select(_pick(wide, name) for name in names)


def _pick(wide: pl.DataFrame, name: Name) -> pl.Expr:
    if name.scope == "run":
        return pl.col(name.key)
    if name.scope == "labels":
        found = [_label(text, name.key) for text in wide["labels"]]
        return pl.lit(pl.Series(f"labels.{name.key}", found, dtype=pl.String))
    title = name.column
    if title in wide.columns:
        return pl.col(title)
    return pl.lit(None, pl.Float64 if name.scope == "metrics" else pl.String).alias(title)


def _label(labels: str | None, key: str) -> str | None:
    """Return one label: text as it is, anything else as JSON; None where there is none."""
    try:
        found = json.loads(labels or "{}")
    except ValueError:
        return None  # an import may have brought any text
    value = found.get(key) if isinstance(found, dict) else None
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _run_columns(order: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    runs = order.join(tables[RUNS.name], on="run_id", how="left").sort("at")
    tags = tables.get(TAGS.name)
    if tags is None:
        grouped = pl.DataFrame(schema={"run_id": pl.String, "tags": pl.List(pl.String)})
    else:
        grouped = (
            tags.sort("tag")
            .group_by("run_id", maintain_order=True)
            .agg(pl.col("tag").alias("tags"))
        )
    none = pl.lit([], dtype=pl.List(pl.String))
    return (
        runs.join(grouped, on="run_id", how="left", maintain_order="left")
        .with_columns(
            (pl.col("finished_at") - pl.col("started_at")).alias("duration"),
            pl.col("tags").fill_null(none),
        )
        .select(RUN_COLUMNS)
    )


def _parts(
    order: pl.DataFrame, long: pl.DataFrame, keys: set[str] | None
) -> dict[str, pl.DataFrame]:
    """Part long rows by key, sorted by name, with `at`: the row of the wide frame that each goes to."""
    if keys is not None:
        long = long.filter(pl.col("key").is_in(list(keys)))
    placed = long.join(order, on="run_id", how="inner")
    parts = placed.partition_by("key", as_dict=True)
    return {str(key): parts[key,] for key in sorted(str(k) for (k,) in parts)}


def _scatter(height: int, at: pl.Series, values: pl.Series) -> pl.Series:
    """Return a column of `height` rows that holds `values` at the places `at`, null elsewhere."""
    if len(at) == height and at.is_sorted():
        return values
    return pl.Series([None], dtype=values.dtype).new_from_index(0, height).scatter(at, values)


def _typed(
    order: pl.DataFrame, long: pl.DataFrame | None, scope: str, names: list[Name] | None
) -> list[pl.DataFrame]:
    keys = None if names is None else {n.key for n in names if n.scope == scope}
    if long is None or long.is_empty() or keys == set():
        return []
    parts = _parts(order, long.with_columns(_numbers()), keys)
    kinds = dict(long.group_by("key").agg(pl.col("type").unique()).iter_rows())
    columns = [
        _scatter(order.height, part["at"], _decode(part, set(kinds[key]))).alias(f"{scope}.{key}")
        for key, part in parts.items()
    ]
    return [pl.DataFrame(columns)] if columns else []


def _numbers() -> pl.Expr:
    """`num` with what a database could not hold: NaN and infinities, as the JSON text spells them."""
    spelled = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
    odd = pl.col("value").replace_strict(spelled, default=None, return_dtype=pl.Float64)
    return (
        pl.when(pl.col("num").is_null() & (pl.col("type") == "float"))
        .then(odd)
        .otherwise(pl.col("num"))
        .alias("num")
    )


def _decode(part: pl.DataFrame, kinds: set[str]) -> pl.Series:
    """Return the values of PARAMS or RESULTS rows of these types in the narrowest type that holds them all.

    int, float, bool and str keep their type when all rows agree; numbers of several kinds become Float64; everything
    else is the JSON text.
    """
    kinds = kinds - {"null"}
    if kinds == {"int"}:
        whole = part["value"].cast(
            pl.Int64, strict=False
        )  # "null" becomes null too, and so does what needs more bits
        if whole.null_count() == part["num"].null_count():
            return whole
    if kinds == {"bool"}:
        return part["num"].cast(pl.Boolean)
    if kinds and kinds <= {"int", "float", "bool"}:
        return part["num"]
    if kinds == {"str"}:
        return part["text"]
    return part.select(pl.when(pl.col("type") != "null").then(pl.col("value"))).to_series()


def _metrics(
    order: pl.DataFrame, long: pl.DataFrame | None, names: list[Name] | None
) -> list[pl.DataFrame]:
    asked = None if names is None else {(n.key, n.aggregate) for n in names if n.scope == "metrics"}
    if long is None or long.is_empty() or asked == set():
        return []
    kinds = {"last"} if asked is None else {kind for _, kind in asked}
    values = long.select("run_id", "key", *(aggregate(kind).alias(kind) for kind in sorted(kinds)))
    columns = []
    for key, part in _parts(
        order, values, None if asked is None else {k for k, _ in asked}
    ).items():
        for kind in ["last"] if asked is None else sorted(a for k, a in asked if k == key):
            title = f"metrics.{key}" + ("" if kind == "last" else f".{kind}")
            columns.append(_scatter(order.height, part["at"], part[kind]).alias(title))
    return [pl.DataFrame(columns)] if columns else []


def aggregate(kind: str) -> pl.Expr:
    """Return the aggregate of a SUMMARIES row: NaN where the row's `last` (or its mean) is NaN."""
    if kind == "last":
        return pl.col("last").fill_null(float("nan"))
    if kind == "mean":
        real = pl.col("count") - pl.col("nan")
        return pl.when(real > 0).then(pl.col("sum").fill_null(float("nan")) / real)
    if kind in {"min", "max", "count", "first_step", "last_step"}:
        return pl.col(kind)
    raise WhereError(f"no aggregate {kind!r}")
