"""Long to wide: one row per run, one column per parameter, result and metric.

A page of a list is a hundred runs and a thousand values: columns are placed by NumPy and put together in the calling
thread. Polars' thread pool costs more than such a frame, and on a busy machine a time slice each time it is asked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from mlrun.errors import WhereError
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlrun.where.ast import Name

    Places = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["RUN_COLUMNS", "aggregate", "widen"]

RUN_COLUMNS = (
    "run_id", "name", "project", "state", "kind", "function", "parent", "iteration", "group", "user", "host",
    "started_at", "finished_at", "duration", "tags", "labels", "notes", "error", "dropped",
)  # fmt: skip
_SMALL = 20_000  # rows that Python looks up faster than Polars joins
_INDEX = pl.get_index_type()  # in this type Polars takes row numbers as they are
_WORD = np.uint32 if pl.UInt32 == _INDEX else np.uint64
_SPELLED = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


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
    order = _Order(ids)
    names = None if wanted is None else list(wanted)
    own = _run_columns(order, tables)
    values = {
        **_typed(order, tables.get(PARAMS.name), "params", names),
        **_typed(order, tables.get(RESULTS.name), "results", names),
        **_metrics(order, tables.get(SUMMARIES.name), names),
    }
    if names is None:
        return pl.DataFrame([*own.values(), *values.values()])
    return pl.DataFrame([_pick(order, own, values, name) for name in names])


class _Order:
    """The rows of the wide frame: which run stands where."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.height = len(ids)
        self._ids = ids
        self._places = {r: at for at, r in enumerate(ids)} if len(ids) <= _SMALL else None

    def of(self, run_ids: pl.Series) -> Places:
        """Return the row of each run; -1 for runs that are not there."""
        if self._places is not None and len(run_ids) <= _SMALL:
            get, size = self._places.get, len(run_ids)
            return np.fromiter((get(r, -1) for r in run_ids.to_list()), np.int64, size)
        rows = pl.DataFrame({"run_id": pl.Series(self._ids, dtype=pl.String)}).with_row_index("at")
        found = run_ids.alias("run_id").to_frame().join(
            rows.with_columns(pl.col("at").cast(pl.Int64)), on="run_id", how="left",
            maintain_order="left",
        )  # fmt: skip
        return found["at"].fill_null(-1).to_numpy()


def _pick(
    order: _Order,
    own: Mapping[str, pl.Series],
    values: Mapping[tuple[str, str, str], pl.Series],
    name: Name,
) -> pl.Series:
    if name.scope == "run":
        return own[name.key]
    title = name.column
    if name.scope == "labels":
        found = [_label(text, name.key) for text in own["labels"]]
        return pl.Series(f"labels.{name.key}", found, dtype=pl.String)
    known = values.get((name.scope, name.key, name.aggregate))
    if known is not None:
        return known.alias(title)
    kind = pl.Float64 if name.scope == "metrics" else pl.String
    return pl.Series(title, [None], kind).new_from_index(0, order.height)


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


def _run_columns(order: _Order, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.Series]:
    runs = tables[RUNS.name]
    at = order.of(runs["run_id"])
    rows = np.full(order.height, -1, np.int64)
    rows[at[at >= 0]] = (at >= 0).nonzero()[0]
    taken = _indices(rows)
    found = {c.name: c if taken is None else c[taken] for c in runs.get_columns()}
    if {"finished_at", "started_at"} <= found.keys():
        found["duration"] = (found["finished_at"] - found["started_at"]).alias("duration")
    if TAGS.name in tables:
        found["tags"] = _tags(order, tables[TAGS.name])
    return {name: found[name] for name in RUN_COLUMNS if name in found}


def _indices(rows: Places) -> pl.Series | None:
    """Return row numbers for `series[...]`; None if they are all rows in order."""
    if len(rows) and (rows == np.arange(len(rows))).all():
        return None
    if (rows < 0).any():
        return pl.Series([None if row < 0 else row for row in rows.tolist()], dtype=_INDEX)
    return pl.Series(rows.astype(_WORD))


def _tags(order: _Order, tags: pl.DataFrame) -> pl.Series:
    if tags.is_empty():
        return pl.Series("tags", [[]], dtype=pl.List(pl.String)).new_from_index(0, order.height)
    at = order.of(tags["run_id"])
    rows = (at >= 0).nonzero()[0]
    rows = rows[np.lexsort((_coded(tags["tag"])[0][rows], at[rows]))]
    ends = np.zeros(order.height + 1, np.int64)
    np.cumsum(np.bincount(at[rows], minlength=order.height), out=ends[1:])
    flat = tags["tag"][pl.Series(rows.astype(_WORD))].to_arrow()
    kind = pa.large_list(flat.type)
    buffers = [None, pa.py_buffer(ends)]
    return pl.Series("tags", pa.Array.from_buffers(kind, order.height, buffers, children=[flat]))


def _parts(
    order: _Order, long: pl.DataFrame, keys: set[str] | None, forms: Mapping[str, pl.Series]
) -> Iterator[tuple[str, Places, dict[str, pl.Series]]]:
    """Part long rows by key, sorted by name: key, where its rows go (ascending), and their `forms`."""
    at = order.of(long["run_id"])
    code, names = _coded(long["key"])
    chosen = at >= 0
    if keys is not None:
        chosen &= np.array([name in keys for name in names], dtype=bool)[code]
    rows = chosen.nonzero()[0]
    rows = rows[np.lexsort((at[rows], code[rows]))]
    ends = np.searchsorted(code[rows], np.arange(len(names) + 1))
    taken, at = pl.Series(rows.astype(_WORD)), at[rows]
    forms = {form: values[taken] for form, values in forms.items()}
    for name, first, end in zip(names, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if first < end:
            part = {form: values.slice(first, end - first) for form, values in forms.items()}
            yield name, at[first:end], part


def _coded(keys: pl.Series) -> tuple[Places, list[str]]:
    """Return the place of every key among the names, and the names in order."""
    if len(keys) <= _SMALL:
        listed = keys.to_list()
        names = sorted(set(listed))
        codes = {name: code for code, name in enumerate(names)}
        return np.fromiter((codes[key] for key in listed), np.int64, len(listed)), names
    names = sorted(keys.unique().to_list())
    return keys.replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy(), names


def _scatter(height: int, at: Places, values: pl.Series) -> pl.Series:
    """Return a column of `height` rows that holds `values` at the places `at` (ascending), null elsewhere."""
    if len(at) == height:
        return values
    none = pl.Series([None], dtype=values.dtype).new_from_index(0, height)
    return none.scatter(pl.Series(at), values)


def _typed(
    order: _Order, long: pl.DataFrame | None, scope: str, names: list[Name] | None
) -> dict[tuple[str, str, str], pl.Series]:
    keys = None if names is None else {n.key for n in names if n.scope == scope}
    if long is None or long.is_empty() or keys == set():
        return {}
    forms = {c: long[c] for c in ("value", "type", "num", "text")}
    columns = {}
    for key, at, part in _parts(order, long, keys, forms):
        column = _scatter(order.height, at, _decode(part))
        columns[scope, key, "last"] = column.alias(f"{scope}.{key}")
    return columns


def _decode(part: Mapping[str, pl.Series]) -> pl.Series:
    """Return the values of PARAMS or RESULTS rows in the narrowest type that holds them all.

    int, float, bool and str keep their type when all rows agree; numbers of several kinds become Float64; everything
    else is the JSON text.
    """
    types = part["type"]
    kinds = set((types if len(types) <= _SMALL else types.unique()).to_list())
    nulls = "null" in kinds
    kinds.discard("null")
    if kinds == {"int"}:
        whole = part["value"].cast(
            pl.Int64, strict=False
        )  # "null" becomes null too, and so does what needs more bits
        if whole.null_count() == part["num"].null_count():
            return whole
    if kinds == {"bool"}:
        return part["num"].cast(pl.Boolean)
    if kinds and kinds <= {"int", "float", "bool"}:
        return _numbers(part) if part["num"].null_count() else part["num"]
    if kinds == {"str"}:
        return part["text"]
    if not nulls:
        return part["value"]
    return pl.DataFrame(part).select(pl.when(pl.col("type") != "null").then("value")).to_series()


def _numbers(part: Mapping[str, pl.Series]) -> pl.Series:
    """`num` with what a database could not hold: NaN and infinities, as the JSON text spells them."""
    odd = pl.col("value").replace_strict(_SPELLED, default=None, return_dtype=pl.Float64)
    spelled = pl.when(pl.col("num").is_null() & (pl.col("type") == "float")).then(odd)
    return pl.DataFrame(part).select(spelled.otherwise("num").alias("num")).to_series()


def _metrics(
    order: _Order, long: pl.DataFrame | None, names: list[Name] | None
) -> dict[tuple[str, str, str], pl.Series]:
    asked = None if names is None else {(n.key, n.aggregate) for n in names if n.scope == "metrics"}
    if long is None or long.is_empty() or asked == set():
        return {}
    kinds = {"last"} if asked is None else {kind for _, kind in asked}
    figures = {kind: _figure(long, kind) for kind in kinds}
    columns = {}
    wanted = None if asked is None else {k for k, _ in asked}
    for key, at, part in _parts(order, long, wanted, figures):
        for kind in ["last"] if asked is None else sorted(a for k, a in asked if k == key):
            title = f"metrics.{key}" + ("" if kind == "last" else f".{kind}")
            column = _scatter(order.height, at, part[kind])
            columns["metrics", key, kind] = column.alias(title)
    return columns


def _figure(long: pl.DataFrame, kind: str) -> pl.Series:
    if kind == "last" and not long["last"].null_count():
        return long["last"]
    return long.select(aggregate(kind)).to_series()


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
