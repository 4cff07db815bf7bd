"""What the charts of a run draw, without a page: which keys, in which groups, and their points as frames."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["AXES", "Span", "chart_frame", "grouped", "matching", "prefix_of", "span_of"]

AXES = {"step": "step", "time": "time, UTC", "relative": "seconds since the first point"}


@dataclass(frozen=True)
class Span:
    """A range of x that was dragged over a chart.

    Attributes:
        start, end: its ends in the units of x, of times in milliseconds since 1970; None for all.
    """

    start: float | None = None
    end: float | None = None

    def bound(self, axis: str, value: float | None) -> float | datetime | None:
        """Return an end as `mlrun.metrics` takes it."""
        if value is None or axis != "time":
            return value
        try:
            return datetime.fromtimestamp(value / 1000, UTC)
        except (ValueError, OverflowError, OSError):  # an address that somebody wrote by hand
            return None


def span_of(start: float | None, end: float | None) -> Span:
    """Return a range; one whose ends are in the wrong order is none."""
    if start is not None and end is not None and start >= end:
        return Span()
    return Span(start, end)


def prefix_of(key: str) -> str:
    """Return the group of a metric: what stands before the first slash.

    Example:
        >>> prefix_of("val/acc/top5"), prefix_of("lr"), prefix_of("/odd")
        ('val', '', '')
    """
    return key.partition("/")[0] if "/" in key.strip("/") else ""


def matching(keys: Iterable[str], wanted: str) -> list[str]:
    """Return the keys that one of the wanted words, with commas between them, is part of or a pattern for.

    Example:
        >>> matching(["val/acc", "val/loss", "lr"], "loss, l?")
        ['lr', 'val/loss']
    """
    words = [w.strip() for w in wanted.split(",") if w.strip()]
    kept = [k for k in keys if not words or any(_fits(k, w) for w in words)]
    return sorted(kept, key=lambda k: (prefix_of(k) != "", k))


def _fits(key: str, word: str) -> bool:
    return word.lower() in key.lower() or fnmatchcase(key, word)


def grouped(keys: Sequence[str]) -> dict[str, list[str]]:
    """Return keys by prefix, in the order in which they come."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(prefix_of(key), []).append(key)
    return groups


def chart_frame(
    points: pl.DataFrame, key: str, axis: str = "step", smooth: float = 0.0, log: bool = False
) -> pl.DataFrame:
    """Return what the chart of one metric draws.

    Args:
        points: of `mlrun.metrics`, of one run.
        key: which metric.
        axis: step, time or relative.
        smooth: weight of what came before, from 0 to less than 1; an exponential mean that is not drawn to zero at its
            beginning and passes over gaps.
        log: leave out what a logarithmic axis cannot show.

    Returns:
        `x, y, series`, and `raw` (what y was) when it is smoothed.
    """
    column = {"step": "step", "time": "time"}.get(axis, "x")
    of_key = points.filter(pl.col("key") == key)
    frame = of_key.select(
        pl.col(column).alias("x"), pl.col("value").alias("y"), pl.col("key").alias("series")
    )
    if log:
        frame = frame.filter(pl.col("y").is_nan() | (pl.col("y") > 0))
    if smooth <= 0:
        return frame
    known = pl.when(pl.col("y").is_finite()).then(pl.col("y"))
    mean = known.ewm_mean(alpha=1 - smooth, adjust=True, ignore_nulls=True)
    drawn = pl.when(known.is_null()).then(pl.lit(None)).otherwise(mean)
    return frame.with_columns(pl.col("y").alias("raw"), drawn.alias("y"))
