"""What `metrics()` is asked for: its arguments, checked and in one form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.errors import QueryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["METHODS", "PointQuery", "parse_query"]

METHODS = ("minmaxlttb", "lttb", "minmax", "m4")
_FAR = 1 << 62  # beyond every step and time; larger bounds mean the same
_FAR_SECONDS = 1e12
_AXES = ("step", "time", "relative")


@dataclass(frozen=True)
class PointQuery:
    """Which points, along which axis.

    Attributes:
        run_ids: distinct, sorted.
        keys: names or patterns; None for all.
        axis: `step`, `time`, `relative` or `metric`; of the last, `axis_key` is the metric.
        low, high: inclusive bounds: steps, microseconds, seconds, or values of the metric.
        points: at most so many rows a series; None for all.
        method: one of METHODS.
        last: one row per (run, key, step), the one written last.
        exact: no row lies outside of the bounds, and the ends and extremes are those of the range.
    """

    run_ids: tuple[str, ...]
    keys: tuple[str, ...] | None
    axis: str
    axis_key: str
    low: float | None
    high: float | None
    points: int | None
    method: str
    last: bool
    exact: bool = True

    def holds(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which values of the axis lie within the bounds."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return (x >= low) & (x <= high)


def parse_query(
    run_ids: Iterable[str],
    keys: Iterable[str] | str | None,
    points: int | None,
    x: str,
    start: float | datetime | None,
    end: float | datetime | None,
    method: str,
    last: bool,
    exact: bool = True,
) -> PointQuery:
    """Check arguments.

    Raises:
        QueryError: one of them has no meaning; the message says which, and what would.
    """
    if method not in METHODS:
        raise QueryError(
            f"no method {method!r}{did_you_mean(str(method), METHODS)}: {', '.join(METHODS)}"
        )
    if points is not None and (
        isinstance(points, bool) or not isinstance(points, int) or points < 4
    ):
        raise QueryError(
            f"points must be a whole number from 4 on (first, last, least and greatest), not {points!r}"
        )
    axis, axis_key = _axis(x)
    wanted = None if keys is None else (keys,) if isinstance(keys, str) else tuple(keys)
    if wanted is not None and not all(isinstance(k, str) for k in wanted):
        raise QueryError("keys must be names of metrics or patterns such as 'val/*'")
    low, high = (_bound(value, axis, name) for value, name in ((start, "start"), (end, "end")))
    return PointQuery(
        tuple(sorted(set(run_ids))), wanted, axis, axis_key, low, high, points, method, bool(last),
        bool(exact),
    )  # fmt: skip


def _axis(x: str) -> tuple[str, str]:
    if isinstance(x, str) and x.startswith("metrics.") and len(x) > 8:
        key = x.removeprefix("metrics.")
        if len(key) > 2 and key[0] == key[-1] == '"':
            key = key[1:-1].replace('""', '"')
        return "metric", key
    if x not in _AXES:
        hint = did_you_mean(str(x), _AXES)
        raise QueryError(f"x must be step, time, relative or metrics.<key>, not {x!r}{hint}")
    return x, ""


def _bound(value: Any, axis: str, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        if axis != "time":
            raise QueryError(f'{name} is a time, but x is {axis!r}: pass x="time"')
        since = value if value.tzinfo else value.replace(tzinfo=UTC)
        gap = since - datetime(1970, 1, 1, tzinfo=UTC)
        return (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds
    number = not isinstance(value, bool) and hasattr(value, "__float__")
    if number and not isinstance(value, int):
        value = int(value) if hasattr(value, "__index__") else float(value)
    if not number or math.isnan(value):
        unit = {"step": "a number", "time": "a datetime or microseconds"}.get(axis, "a number")
        raise QueryError(f"{name} must be {unit}, not {value!r}")
    if axis == "metric":
        return float(value)
    if axis == "relative":
        return float(min(max(value, -_FAR_SECONDS), _FAR_SECONDS))
    value = min(max(value, -_FAR), _FAR)
    # steps and microseconds are whole: from 2.5 on means from 3 on
    return int(math.ceil(value) if name == "start" else math.floor(value))
