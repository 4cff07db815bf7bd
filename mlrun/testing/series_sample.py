"""Rows of series tables for tests: made up, brought into one form, and filtered by definition."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from mlrun.contracts import PointFilter
    from mlrun.tables import Column, Table

__all__ = ["T0", "matching", "rows_of", "sample"]

T0 = 1_700_000_000_000_000  # microseconds: where times begin
_FLOATS = [0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308]
_WORDS = ["a", "val/acc", "é", "🙂 \N{SNOWMAN}", "'; drop table runs; --", "x" * 1024, "", "\n"]


def sample(table: Table, rows: int, *, seed: int = 0, plain: bool = False) -> pa.Table:
    """Make rows of a table: few runs and keys, all kinds of text, numbers and times; unsorted.

    Args:
        table: which.
        rows: how many.
        seed: same seed, same rows.
        plain: no odd text, values or empty cells.
    """
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {}
    for column in table.columns:
        values = _values(column, rows, seed, rng, plain=plain)
        if column.nullable and not plain:
            values = pc.if_else(pa.array(rng.random(rows) < 0.1), pa.scalar(None), values)
        out[column.name] = values.cast(table.schema.field(column.name).type)
    for low, high in (("first_step", "last_step"), ("first_time", "last_time")):
        if low in out:
            kind = out[low].type
            pair = out[low].cast(pa.int64()), out[high].cast(pa.int64())
            out[low] = pc.min_element_wise(*pair).cast(kind)
            out[high] = pc.max_element_wise(*pair).cast(kind)
    return pa.table(out, schema=table.schema)


def _values(
    column: Column, rows: int, seed: int, rng: np.random.Generator, *, plain: bool
) -> pa.Array:
    if column.name == "project":
        return pa.repeat("p", rows)
    if column.name == "run_id":
        return pa.array([f"run-{n}" for n in range(5)]).take(pa.array(rng.integers(5, size=rows)))
    if column.name == "seq":
        return pa.array((seed << 32) + np.arange(rows))
    if column.name == "level":
        return pa.array(rng.integers(-1, 3, size=rows))
    if column.type == "string":
        words = pa.array(_WORDS[:2] if plain else _WORDS)
        return words.take(pa.array(rng.integers(len(words), size=rows)))
    if column.type == "float64":
        given = rng.random(rows) if plain else rng.choice(np.array(_FLOATS), rows)
        return pa.array(given, from_pandas=False)
    if column.type == "bool":
        return pa.array(rng.random(rows) < 0.5)
    start = T0 if column.type == "timestamp" else 0
    return pa.array(start + rng.integers(1000, size=rows))


def rows_of(data: Any) -> list[tuple[Any, ...]]:
    """Return rows as sorted plain tuples in which NaN equals itself and -0.0 is not 0.0."""
    if isinstance(data, pa.RecordBatchReader):
        data = data.read_all()
    frame = pl.DataFrame(data)
    times = [n for n, t in frame.schema.items() if isinstance(t, pl.Datetime)]
    rows = frame.with_columns(pl.col(times).cast(pl.Int64)).iter_rows()
    return sorted(tuple(repr(v) for v in row) for row in rows)


def matching(data: pa.Table, where: PointFilter) -> pa.Table:
    """Return the rows that a filter means, by its definition."""
    frame = pl.DataFrame(data).with_row_index("#")
    for column, values in (("run_id", where.run_ids), ("key", where.keys), ("level", where.levels)):
        if values is not None:
            frame = frame.filter(pl.col(column).is_in(list(values)))
    for kind, (low, high) in (("step", where.steps), ("time", where.times)):
        first, last = (kind, kind) if kind in frame.columns else (f"first_{kind}", f"last_{kind}")
        if low is not None:
            frame = frame.filter(pl.col(last).cast(pl.Int64) >= low)
        if high is not None:
            frame = frame.filter(pl.col(first).cast(pl.Int64) <= high)
    return data.take(frame["#"].to_arrow())
