"""Choose the points of a series that a chart shows.

First, last, least and greatest values stay, and so does a NaN of every gap as long as there is room. In between
`tsdownsample` chooses. Infinite values count as the largest finite ones when areas are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = ["select", "thin"]


def select(x: NDArray[Any] | None, y: NDArray[np.float64], points: int, method: str) -> Ints:
    """Return ascending indices of at most `points` rows.

    Args:
        x: ascending positions; None for 0, 1, 2, …, which is several times faster.
        y: values; may be NaN.
        points: at least 4.
        method: `minmaxlttb`, `lttb`, `minmax` or `m4`.
    """
    if y.size <= points:
        return np.arange(y.size)
    if x is None:
        found = _even(y, points) if method == "minmaxlttb" else None
        if found is not None:
            return found
        x = np.arange(y.size)
    nan = np.isnan(y)
    kept = _ends(y, nan)
    if not nan.any():
        return _fitted(kept, points, lambda room: _downsample(x, y, room, method))
    gaps = np.setdiff1d(_gap_starts(nan), kept)
    room = max((points - kept.size) // 4, 0)
    if gaps.size > room:
        gaps = gaps[np.linspace(0, gaps.size - 1, room).astype(np.int64)] if room else gaps[:0]
    kept = np.union1d(kept, gaps)
    real = np.flatnonzero(~nan)
    return _fitted(kept, points, lambda room: real[_downsample(x[real], y[real], room, method)])


def _fitted(kept: Ints, points: int, choose: Callable[[int], Ints]) -> Ints:
    """Return what must be kept and what is chosen beside it, in order, at most `points` of them."""
    # most of what must be kept is chosen anyway: try with less room only if both together are too many
    for room in (points, points - kept.size // 2, points - kept.size):
        chosen = np.union1d(kept, choose(room))
        if chosen.size <= points:
            return chosen
    return kept


def _even(y: NDArray[np.float64], points: int) -> Ints | None:
    """Choose among finite values at even positions, looking at each only once; None if some are not finite.

    The least and greatest values of 4 bins a point are candidates, as in MinMaxLTTB. The extremes of all are among
    them, and of a bin with a NaN or an infinite value, that value is.
    """
    import tsdownsample

    if points < 16 or y.size <= 8 * points:
        return None
    engines: Any = tsdownsample
    inner = engines.NaNMinMaxDownsampler().downsample(np.ascontiguousarray(y), n_out=4 * points)
    candidates = _with_ends(inner.view(np.int64), y.size)
    values = y[candidates]
    if not np.isfinite(values).all():
        return None
    low, high = candidates[values.argmin()], candidates[values.argmax()]
    # positions as floats: the engine needs a third less time, and they are exact
    at = candidates.astype(np.float64)
    chosen = engines.LTTBDownsampler().downsample(at, values, n_out=points - 2)
    return _with(candidates[chosen.view(np.int64)], (low, high))


def _with_ends(ascending: Ints, size: int) -> Ints:
    """Put the first and last index of an array of that size before and behind others, each index once."""
    if not (ascending[1:] > ascending[:-1]).all():  # a bin whose values are all the same
        ascending = np.unique(ascending)
    before, after = [0][: ascending[0]], [size - 1][: size - 1 - ascending[-1]]
    if not before and not after:
        return ascending
    return np.concatenate([np.array(before, np.int64), ascending, np.array(after, np.int64)])


def _with(ascending: Ints, more: tuple[np.int64, ...]) -> Ints:
    """Put some more indices in their places where they are missing; `union1d` takes ten times as long."""
    places = np.searchsorted(ascending, more)
    missing = [i for i, at in zip(more, places, strict=True) if ascending[at] != i]
    return np.sort(np.append(ascending, missing)) if missing else ascending


def thin(y: NDArray[np.float64], bins: int) -> Ints:
    """Return ascending indices of the least and greatest value in each of some bins, the ends, and gaps."""
    if y.size <= 4 * bins:
        return np.arange(y.size)
    nan = np.isnan(y)
    real = np.flatnonzero(~nan)
    gaps = _gap_starts(nan)
    if gaps.size > bins:
        gaps = gaps[np.linspace(0, gaps.size - 1, bins).astype(np.int64)]
    chosen = real[_downsample(real, y[real], 2 * bins, "minmax")]
    return np.unique(np.concatenate([_ends(y, nan), gaps, chosen]))


def _ends(y: NDArray[np.float64], nan: NDArray[np.bool_]) -> Ints:
    """Indices of the first, last, least and greatest value."""
    found = {0, y.size - 1}
    if not nan.any():
        found |= {int(y.argmin()), int(y.argmax())}
    elif not nan.all():
        found |= {int(np.nanargmin(y)), int(np.nanargmax(y))}
    return np.array(sorted(found), np.int64)


def _gap_starts(nan: NDArray[np.bool_]) -> Ints:
    """Indices at which a run of NaN begins."""
    before = np.concatenate([[False], nan[:-1]])
    return np.flatnonzero(nan & ~before)


def _downsample(x: NDArray[Any], y: NDArray[np.float64], points: int, method: str) -> Ints:
    if y.size <= points:
        return np.arange(y.size)
    if points < 8:  # too few for bins
        return np.linspace(0, y.size - 1, max(points, 0)).astype(np.int64)
    finite = np.isfinite(y)
    if not finite.all():
        low, high = (y[finite].min(), y[finite].max()) if finite.any() else (0.0, 0.0)
        y = np.clip(y, low, high)
    y = np.ascontiguousarray(y)
    chosen = _engine(method, points, np.ascontiguousarray(x), y)
    if (
        chosen.size < points // 2
    ):  # x has holes: bins of equal width are empty there, bins of equal size are not
        more = _engine(method, points - chosen.size, None, y)
        chosen = np.union1d(chosen, more)
    return chosen


def _engine(method: str, points: int, x: NDArray[Any] | None, y: NDArray[np.float64]) -> Ints:
    import tsdownsample

    engines: dict[str, tuple[Any, int]] = {
        "minmaxlttb": (tsdownsample.MinMaxLTTBDownsampler, 1),
        "lttb": (tsdownsample.LTTBDownsampler, 1),
        "minmax": (tsdownsample.MinMaxDownsampler, 2),
        "m4": (tsdownsample.M4Downsampler, 4),
    }
    kind, multiple = engines[method]
    count = points // multiple * multiple
    if count < 8:
        return np.zeros(0, np.int64)
    given = (y,) if x is None else (x, y)
    engine: Any = kind()
    return np.unique(engine.downsample(*given, n_out=count)).astype(np.int64)
