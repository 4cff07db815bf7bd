"""Curves of several runs on one grid: smoothed, gathered in groups, as mean and band or as quantiles.

Runs log at different steps and are thinned to different ones; a mean over runs needs their values at the same x. Each
curve is interpolated linearly between its own points, and is missing before its first, behind its last and in its gaps.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["QUANTILES", "align", "banded", "grid_of", "labelled", "quantile_bands", "smoothed"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_LABELS = 10
_RANGES = 6


def smoothed(frame: pl.DataFrame, weight: float) -> pl.DataFrame:
    """Return the curves with `y` smoothed and what it was as `raw`.

    Args:
        frame: `series, x, y`, each series in the order of x.
        weight: what the past counts, from 0 (nothing changes) to less than 1.

    Returns:
        The rows in their order. A point is the weighted mean of the points so far, the newest first, each counting
        `weight` times the one after it; the first points are no nearer to zero for that (debiased). NaN stays NaN and
        counts for nothing.
    """
    frame = frame.with_columns(pl.col("y").alias("raw"))
    if weight <= 0 or frame.is_empty():
        return frame
    value = pl.when(pl.col("y").is_finite()).then(pl.col("y"))
    mean = value.ewm_mean(alpha=1 - min(weight, 0.999), adjust=True, ignore_nulls=True)
    kept = pl.when(pl.col("y").is_finite()).then(mean.over("series")).otherwise(pl.col("y"))
    return frame.with_columns(kept.alias("y"))


def grid_of(x: Floats, most: int = 200, *, log: bool = False) -> Floats:
    """Return the places at which curves are compared: all x if there are few, else evenly spread ones.

    Args:
        x: of all curves, in any order.
        most: places at most, at least 2.
        log: evenly in the logarithm of x, where all x are above zero.
    """
    own = np.unique(x[np.isfinite(x)])
    if own.size <= most:
        return own
    if log and own[0] > 0:
        return np.geomspace(own[0], own[-1], most).clip(own[0], own[-1])
    return np.linspace(own[0], own[-1], most)


def align(frame: pl.DataFrame, grid: Floats) -> tuple[list[str], Floats]:
    """Return the curves at the places of a grid.

    Args:
        frame: `series, x, y`. Of rows of a series with the same x the mean counts.
        grid: ascending places, shape (places,).

    Returns:
        The series in the order in which they come, and their values, shape (series, places): NaN where a curve has
        not begun, has ended, or has a gap.
    """
    names = frame["series"].unique(maintain_order=True)
    of = (
        frame.with_columns(pl.col("series").cast(pl.Enum(names)).to_physical().alias("of"))
        .filter(pl.col("x").is_finite())
        .group_by("of", "x")
        .agg(pl.col("y").mean())
        .sort("of", "x")
    )
    x = of["x"].cast(pl.Float64).to_numpy()
    y = of["y"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    begins = np.searchsorted(of["of"].to_numpy(), np.arange(len(names) + 1)).tolist()
    rows = [_at(grid, x[low:high], y[low:high]) for low, high in pairwise(begins)]
    return names.to_list(), np.array(rows).reshape(len(names), grid.size)


def _at(grid: Floats, x: Floats, y: Floats) -> Floats:
    if not x.size:
        return np.full(grid.size, np.nan)
    right = np.searchsorted(x, grid).clip(0, x.size - 1)
    left = np.where(x[right] == grid, right, right - 1).clip(0)
    wide = np.where(x[right] > x[left], x[right] - x[left], 1.0)
    share = ((grid - x[left]) / wide).clip(0, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        found = y[left] + share * (y[right] - y[left])
        between = np.clip(found, np.minimum(y[left], y[right]), np.maximum(y[left], y[right]))
    return np.where((grid < x[0]) | (grid > x[-1]), np.nan, between)


def banded(
    frame: pl.DataFrame, labels: dict[str, str], grid: Floats, deviations: float = 1.0
) -> pl.DataFrame:
    """Return the mean of each group's curves, and a band around it.

    Args:
        frame: `series, x, y`.
        labels: the group of each series; series without one are left out.
        grid: where, see `grid_of`.
        deviations: half of the band, in standard deviations of the runs (of the population: one run has none).

    Returns:
        `series` (the group), `x, y, low, high, runs` (how many count there), by group in the order of its first run
        and x. Places where no run of the group has a value are left out.
    """
    names, values = align(frame.filter(pl.col("series").is_in(list(labels))), grid)
    parts = []
    for group in dict.fromkeys(labels[n] for n in names):
        mine = values[[labels[n] == group for n in names]]
        there = np.isfinite(mine)
        count = there.sum(axis=0)
        some = count > 0
        held = np.where(there, mine, 0.0)[:, some]
        scale = np.maximum(np.abs(held).max(axis=0), 1e-300)  # squares of big values are finite
        mean = (held / scale).sum(axis=0) / count[some]
        off = np.where(there[:, some], held / scale - mean, 0.0)
        spread = np.sqrt((off**2).sum(axis=0) / count[some]) * deviations
        columns = (mean * scale, (mean - spread) * scale, (mean + spread) * scale)
        parts.append(_rows(group, grid[some], columns, ("y", "low", "high"), count[some]))
    return pl.concat(parts) if parts else _rows("", grid[:0], (), (), grid[:0]).clear()


def quantile_bands(frame: pl.DataFrame, grid: Floats, name: str) -> pl.DataFrame:
    """Return the quantiles of many curves as one: `series, x, y` (the median), `q5, q25, q75, q95, runs`.

    Args:
        frame: `series, x, y`.
        grid: where, see `grid_of`.
        name: what the one is called.
    """
    _, values = align(frame, grid)
    there = np.isfinite(values)
    some = there.any(axis=0)
    held = np.where(there, values, np.nan)[:, some]
    q5, q25, y, q75, q95 = (
        np.nanquantile(held, QUANTILES, axis=0) if held.size else np.zeros((5, 0))
    )
    names = ("y", "q5", "q25", "q75", "q95")
    return _rows(name, grid[some], (y, q5, q25, q75, q95), names, there.sum(axis=0)[some])


def _rows(
    group: str, x: Floats, columns: Iterable[Floats], names: Iterable[str], runs: Floats
) -> pl.DataFrame:
    values = dict(zip(names, columns, strict=True))
    frame = pl.DataFrame({"x": x, **values, "runs": np.asarray(runs, np.int64)})
    return frame.select(pl.lit(group).alias("series"), pl.all())


def labelled(values: dict[str, Any]) -> dict[str, str]:
    """Return the group of each run by its value of one parameter.

    Args:
        values: by run; None where it has none.

    Returns:
        By run: the value as text; `none` without one. More than 10 different numbers are parted into 6 ranges of
        about as many runs each; of more than 10 other values the rarest are `others`.
    """
    numbers = {k: float(v) for k, v in values.items() if _is_number(v)}
    others = {k: v for k, v in values.items() if k not in numbers and v is not None}
    out = {k: "none" for k, v in values.items() if v is None}
    if len(set(numbers.values())) > _MOST_LABELS and not others:
        at = np.array(list(numbers.values()))
        edges = np.unique(np.quantile(at, np.linspace(0, 1, _RANGES + 1)))
        place = np.searchsorted(edges, at, "right").clip(1, edges.size - 1) - 1
        texts = [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges.tolist())]
        ranged = {k: texts[p] for k, p in zip(numbers, place.tolist(), strict=True)}
        return {k: (ranged | out)[k] for k in values}
    texts_of = {k: _text(v) for k, v in values.items() if v is not None}
    counts = pl.Series(list(texts_of.values()), dtype=pl.String).value_counts(sort=True)
    kept = set(counts[counts.columns[0]].to_list())
    if len(kept) > _MOST_LABELS:
        kept = set(counts[counts.columns[0]].head(_MOST_LABELS - 1).to_list())
    out |= {k: text if text in kept else "others" for k, text in texts_of.items()}
    return {k: out[k] for k in values}


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and value == value
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
