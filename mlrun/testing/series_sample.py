"""Rows of series tables for tests: made up, brought into one form, and filtered by definition."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from mlrun.contracts import PointFilter
    from mlrun.tables import Table

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
    rng = random.Random(seed)
    out = {}
    for column in table.columns:
        values: list[Any]
        if column.name == "project":
            values = ["p"] * rows
        elif column.name == "run_id":
            values = [f"run-{rng.randrange(5)}" for _ in range(rows)]
        elif column.name == "seq":
            values = [(seed << 32) + i for i in range(rows)]
        elif column.name == "level":
            values = [rng.randrange(-1, 3) for _ in range(rows)]
        elif column.type == "string":
            values = [rng.choice(_WORDS[:2] if plain else _WORDS) for _ in range(rows)]
        elif column.type == "float64":
            values = [rng.random() if plain else rng.choice(_FLOATS) for _ in range(rows)]
        elif column.type == "bool":
            values = [rng.random() < 0.5 for _ in range(rows)]
        else:
            start = T0 if column.type == "timestamp" else 0
            values = [start + rng.randrange(1000) for _ in range(rows)]
        if column.nullable and not plain:
            values = [None if rng.random() < 0.1 else v for v in values]
        out[column.name] = pa.array(values, table.schema.field(column.name).type)
    for low, high in (("first_step", "last_step"), ("first_time", "last_time")):
        if low in out:
            pairs = [
                sorted(p)
                for p in zip(
                    out[low].cast("int64").to_pylist(),
                    out[high].cast("int64").to_pylist(),
                    strict=True,
                )
            ]
            kind = out[low].type
            out[low], out[high] = (pa.array([p[i] for p in pairs], kind) for i in (0, 1))
    return pa.table(out, schema=table.schema)


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
