"""The points of a comparison: one question for all runs and metrics, and never more rows than a browser can draw."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import polars as pl

import mlrun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.store import Store

__all__ = ["AXES", "MOST_POINTS", "Span", "asked_points", "key_limit", "points_each"]

AXES = ("step", "relative", "time")
MOST_POINTS = 60_000  # rows of all charts of a page
_MOST_EACH = 1_000
_LEAST_EACH = 16
_FEW = 16  # runs; of more, points may lie a little outside of the range, where nothing is drawn


@dataclass(frozen=True)
class Span:
    """What of x is shown, in the chart's units (of times: milliseconds since 1970); None for no end."""

    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends, if there are two in order."""
        if self.low is None or self.high is None or not self.low < self.high:
            return None
        return self.low, self.high

    def bounds(self, x: str) -> dict[str, Any]:
        """Return `start` and `end` as `mlrun.metrics` takes them along an axis."""
        found = {"start": (self.low, floor), "end": (self.high, ceil)}
        out: dict[str, Any] = {}
        for name, (value, whole) in found.items():
            if value is None:
                continue
            if x == "step":
                out[name] = whole(max(min(value, 2.0**62), -(2.0**62)))
            elif x == "time":
                out[name] = datetime.fromtimestamp(max(min(value, 4e12), 0) / 1000, UTC)
            else:
                out[name] = value
        return out


def key_limit(runs: int) -> int:
    """Return how many metrics of so many runs can be drawn at once."""
    return max(MOST_POINTS // (max(runs, 1) * _LEAST_EACH), 1)


def points_each(runs: int, keys: int) -> int:
    """Return how many points of each curve are asked for."""
    return max(min(MOST_POINTS // max(runs * keys, 1), _MOST_EACH), _LEAST_EACH)


def asked_points(
    store: Store, ids: Sequence[str], keys: Sequence[str], x: str, span: Span
) -> pl.DataFrame:
    """Return the curves of some runs: `run_id, key, x, y`, in the order of x.

    Args:
        store: where from.
        ids: the runs.
        keys: the metrics.
        x: `step`, `time` (x are milliseconds since 1970), `relative` (seconds), or `metrics.<key>`.
        span: what of it.
    """
    points = points_each(len(ids), len(keys))
    names = [k for k in keys if f"metrics.{k}" != x] or list(keys)
    found = mlrun.metrics(
        list(ids), keys=names, points=points, x=x, store=store, **span.bounds(x),
        exact=len(ids) <= _FEW,
    )  # fmt: skip
    if x == "time":
        along = pl.col("time").dt.timestamp("us") / 1000
    else:
        along = pl.col("step" if x == "step" else "x").cast(pl.Float64)
    return found.select("run_id", "key", along.alias("x"), pl.col("value").alias("y"))
