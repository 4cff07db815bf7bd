"""Long to wide: one row per run, one column per parameter, result and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlrun.errors import WhereError
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrun.where.ast import Name

__all__ = ["RUN_COLUMNS", "aggregate", "column_title", "decode_values", "empty_runs", "widen"]

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
        path = pl.col("labels").str.json_path_match(
            f"$['{name.key}']" if "'" not in name.key else "$"
        )
        return path.alias(f"labels.{name.key}")
    title = column_title(name)
    if title in wide.columns:
        return pl.col(title)
    return pl.lit(None, pl.Float64 if name.scope == "metrics" else pl.String).alias(title)


def column_title(name: Name) -> str:
    """Return the column's title in the frame: `metrics.acc`, `metrics.acc.max`, `params.lr`, `state`."""
    if name.scope == "run":
        return name.key
    suffix = f".{name.aggregate}" if name.scope == "metrics" and name.aggregate != "last" else ""
    return f"{name.scope}.{name.key}{suffix}"


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


def _places(order: pl.DataFrame, long: pl.DataFrame, keys: set[str] | None) -> pl.DataFrame:
    """Add `at`, the row that each long row goes to; rows of other runs or keys are left out."""
    if keys is not None:
        long = long.filter(pl.col("key").is_in(list(keys)))
    return long.join(order, on="run_id", how="inner")


def _scatter(height: int, at: pl.Series, values: pl.Series) -> pl.Series:
    """Return a column of `height` rows that holds `values` at the places `at`, null elsewhere."""
    if len(at) == height and at.is_sorted():
        return values
    empty = (
        pl.Series([None], dtype=values.dtype).extend_constant(None, height - 1)
        if height
        else values.clear()
    )
    return empty.scatter(at, values) if height else empty


def _typed(
    order: pl.DataFrame, long: pl.DataFrame | None, scope: str, names: list[Name] | None
) -> list[pl.DataFrame]:
    keys = None if names is None else {n.key for n in names if n.scope == scope}
    if long is None or long.is_empty() or keys == set():
        return []
    placed = _places(order, long, keys)
    columns = [
        _scatter(order.height, part["at"], decode_values(part)).alias(f"{scope}.{key}")
        for (key,), part in sorted(
            placed.partition_by("key", as_dict=True).items(), key=lambda item: str(item[0])
        )
    ]
    return [pl.DataFrame(columns)] if columns else []


def decode_values(part: pl.DataFrame) -> pl.Series:
    """Return the values of PARAMS or RESULTS rows in the narrowest type that holds them all.

    int, float, bool and str keep their type when all rows agree; numbers of several kinds become Float64; everything
    else is the JSON text.
    """
    kinds = set(part["type"].unique().to_list()) - {"null"}
    text = part["value"]
    null = part["type"] == "null"
    if kinds <= {"int"} and kinds:
        whole = text.cast(pl.Int64, strict=False)
        if whole.null_count() == null.sum():
            return whole
    if kinds and kinds <= {"int", "float", "bool"}:
        if kinds == {"bool"}:
            return part["num"].cast(pl.Boolean)
        spelled = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
        odd = text.replace_strict(spelled, default=None, return_dtype=pl.Float64)
        return part.select(pl.col("num").fill_null(odd)).to_series()
    if kinds == {"str"}:
        return part["text"]
    return part.select(pl.when(~null).then(pl.col("value"))).to_series()


def _metrics(
    order: pl.DataFrame, long: pl.DataFrame | None, names: list[Name] | None
) -> list[pl.DataFrame]:
    asked = None if names is None else {(n.key, n.aggregate) for n in names if n.scope == "metrics"}
    if long is None or long.is_empty() or asked == set():
        return []
    placed = _places(order, long, None if asked is None else {k for k, _ in asked})
    columns = []
    for (key,), part in sorted(
        placed.partition_by("key", as_dict=True).items(), key=lambda item: str(item[0])
    ):
        shown = ["last"] if asked is None else sorted(a for k, a in asked if k == key)
        for kind in shown:
            title = f"metrics.{key}" + ("" if kind == "last" else f".{kind}")
            values = part.select(aggregate(kind)).to_series()
            columns.append(_scatter(order.height, part["at"], values).alias(title))
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


def empty_runs() -> pl.DataFrame:
    """Return the frame of no runs."""
    return widen([], {RUNS.name: _empty(RUNS)}, None)


def _empty(table: Table) -> pl.DataFrame:
    return pl.DataFrame(table.schema.empty_table())
