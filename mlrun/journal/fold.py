"""Points to summaries: partial aggregates that the records store merges into what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.tables import SUMMARIES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["fold_points"]


def fold_points(points: pa.Table) -> list[tuple[Any, ...]]:
    """Aggregate rows of METRICS into rows of SUMMARIES, one per (run, key); timestamps as int microseconds.

    NaN rows count in `count` and `nan` and are left out of min, max and sum; `last` is the value at the highest step,
    the newest written of these, None for NaN.
    """
    if points.num_rows == 0:
        return []
    frame = pl.DataFrame(points)
    value = pl.col("value")
    real = value.filter(value.is_not_nan())
    folded = (
        frame.lazy()
        .with_columns(pl.col("run_id").cast(pl.String), pl.col("key").cast(pl.String))
        .sort("step", "time", "seq", maintain_order=True)
        .group_by("run_id", "key")
        .agg(
            value.last().alias("last"),
            real.min().alias("min"),
            real.max().alias("max"),
            pl.when(real.len() > 0).then(real.sum()).alias("sum"),
            pl.len().cast(pl.Int64).alias("count"),
            value.is_nan().sum().cast(pl.Int64).alias("nan"),
            pl.col("step").first().alias("first_step"),
            pl.col("step").last().alias("last_step"),
            pl.col("time").last().cast(pl.Int64).alias("last_time"),
            pl.col("seq").last().alias("last_seq"),
        )
        .with_columns(pl.col("last", "sum").fill_nan(None))
        .select(SUMMARIES.names)
        .collect()
    )
    return folded.rows()
