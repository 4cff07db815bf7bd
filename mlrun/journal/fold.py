"""Points to summaries: partial aggregates that the records store merges into what it has.

Two ways to the same rows: plain Python for a few points in a process that has not loaded Polars (a training script that
finishes must not pay for the import) and in a child forked from one that has, Polars for everything else. A test holds
them equal.
"""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Any

from mlrun.tables import METRICS, SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pyarrow as pa

    from mlrun.contracts import Mark
    from mlrun.journal.snapshot import JournalSnapshot

__all__ = ["FEW", "fold", "fold_points", "fold_rows", "is_cheap", "merge"]

_HANDFUL = 100  # points for which Polars is not faster, even when it is loaded
FEW = 4_000  # points that plain Python folds in about 5 ms
_polars_is_dead = (
    False  # its threads stayed in the parent: in this forked child it would wait for them for ever
)


def is_cheap(
    journal: JournalSnapshot, *, after: Mapping[str, Mark], upto: Mapping[str, int] | None = None
) -> bool:
    """Whether `fold` takes milliseconds: few points, or Polars is there already."""
    if "polars" in sys.modules and not _polars_is_dead:
        return True
    return journal.waiting_rows(after, upto) <= FEW


def fold(
    journal: JournalSnapshot, *, after: Mapping[str, Mark], upto: Mapping[str, int] | None = None
) -> list[tuple[Any, ...]]:
    """Aggregate the metrics past the marks into rows of SUMMARIES; timestamps as int microseconds."""
    waiting = journal.waiting_rows(after, upto)
    if not waiting:
        return []
    if _polars_is_dead or waiting <= _HANDFUL or ("polars" not in sys.modules and waiting <= FEW):
        return fold_rows(journal.rows(METRICS.name, after=after, upto=upto))
    return fold_points(journal.points(METRICS.name, after=after, upto=upto))


def fold_rows(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Aggregate tuples in the column order of METRICS, without any library."""
    found: dict[tuple[str, str], list[Any]] = {}
    for _, run_id, key, step, time, value, _, seq in rows:
        state = found.get((run_id, key))
        if state is None:
            state = found[run_id, key] = [value, None, None, None, 0, 0, step, step, time, seq]
        if (step, time, seq) >= (state[7], state[8], state[9]):
            state[0], state[7], state[8], state[9] = value, step, time, seq
        state[4] += 1
        state[6] = min(state[6], step)
        if value != value:
            state[5] += 1
        elif state[1] is None:
            state[1:4] = value, value, value
        else:
            state[1], state[2] = min(state[1], value), max(state[2], value)
            state[3] += value
    return [
        (*name, _nan_to_none(s[0]), s[1], s[2], _nan_to_none(s[3]), *s[4:])
        for name, s in found.items()
    ]


def _nan_to_none(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def fold_points(points: pa.Table) -> list[tuple[Any, ...]]:
    """Aggregate rows of METRICS with Polars.

    NaN rows count in `count` and `nan` and are left out of min, max and sum; `last` is the value at the highest step,
    the newest written of these, None for NaN.
    """
    if points.num_rows == 0:
        return []
    import polars as pl

    value = pl.col("value")
    real = value.filter(value.is_not_nan())
    folded = (
        pl.DataFrame(points)
        .lazy()
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


def _after_fork() -> None:
    global _polars_is_dead  # a process is forked once
    _polars_is_dead = "polars" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def merge(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    """Merge two rows of SUMMARIES of one run and key, aggregates of different points."""
    newest = a if a[9:12] > b[9:12] else b  # by (step, time, seq) of the last
    return (
        *a[:2],
        newest[2],
        _either(min, a[3], b[3]),
        _either(max, a[4], b[4]),
        _total(a, b),
        a[6] + b[6],
        a[7] + b[7],
        min(a[8], b[8]),
        *newest[9:12],
    )


def _either(
    choose: Callable[[float, float], float], a: float | None, b: float | None
) -> float | None:
    return a if b is None else b if a is None else choose(a, b)


def _total(a: tuple[Any, ...], b: tuple[Any, ...]) -> float | None:
    """The sum of both; None when it is NaN, or when there is nothing but NaN (then there is nothing to add)."""
    sums = [row[5] for row in (a, b) if row[6] > row[7]]
    if not sums or None in sums:
        return None
    return _nan_to_none(math.fsum(sums) if all(map(math.isfinite, sums)) else sum(sums))
