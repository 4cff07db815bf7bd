"""A series of numbers in one line of text."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["sparkline"]

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float | None], width: int | None = None) -> str:
    """Draw values as bars of eight heights; NaN and None are gaps, infinities touch the edge.

    Args:
        values: in order.
        width: at most so many characters; of the values that share one, the one farthest from the middle is shown, so
            that a spike stays visible. None for one character a value.

    Example:
        >>> sparkline([0, 1, 2, 3, None, 7])
        '▁▂▃▄ █'
    """
    numbers = [math.nan if v is None else float(v) for v in values]
    finite = [v for v in numbers if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    if width is not None and len(numbers) > width:
        numbers = [_farthest(part, (low + high) / 2) for part in _split(numbers, width)]
    return "".join(_bar(v, low, high) for v in numbers)


def _split(values: list[float], parts: int) -> list[list[float]]:
    edges = [len(values) * i // parts for i in range(parts + 1)]
    return [values[a:b] for a, b in itertools.pairwise(edges)]


def _farthest(values: list[float], middle: float) -> float:
    told = [v for v in values if not math.isnan(v)]
    return max(told, key=lambda v: abs(v - middle)) if told else math.nan


def _bar(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return " "
    if math.isinf(value):
        return _BARS[-1] if value > 0 else _BARS[0]
    if high <= low:
        return _BARS[3]
    # halves first: the span of two huge numbers may overflow
    share = (value / 2 - low / 2) / (high / 2 - low / 2)
    return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
