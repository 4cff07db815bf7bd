"""How much each parameter has to do with a result, over the runs that were made.

Two measures, neither of which trains a model. The rank correlation (Spearman) says whether the target grows or falls
with the parameter. The share is the part of the target's variance that differs between the parameter's values (numbers
in up to 6 ranges of equal size, others as they are), corrected for what as many groups of chance would share
(epsilon squared): it also sees what rises and then falls, and parameters that are text. Both look at one parameter at a
time: what only a combination does, neither sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["LEAST_RUNS", "importance"]

LEAST_RUNS = 4
_RANGES = 6


def importance(frame: pl.DataFrame, params: Sequence[str], target: str) -> pl.DataFrame:
    """Return the measures of each parameter, the greatest share first.

    Args:
        frame: a row per run.
        params: columns to judge.
        target: the column to explain, numeric.

    Returns:
        `param, correlation` (-1 to 1, null for what is no number or does not vary), `share` (0 to 1), `runs` (that have
        both). Parameters that do not vary, or that fewer than LEAST_RUNS runs have, are left out.
    """
    rows = []
    for name in params:
        if found := _measured(frame, name, target):
            rows.append(found)
    schema = {"param": pl.String, "correlation": pl.Float64, "share": pl.Float64, "runs": pl.Int64}
    out = pl.DataFrame(rows, schema=schema, orient="row")
    return out.sort("share", pl.col("correlation").abs(), descending=True, nulls_last=True)


def _measured(frame: pl.DataFrame, name: str, target: str) -> tuple[Any, ...] | None:
    goal = pl.col(target).cast(pl.Float64)
    both = frame.select(pl.col(name).alias("p"), goal.alias("t")).drop_nulls()
    both = both.filter(pl.col("t").is_finite())
    number = both.schema["p"].is_numeric()
    if number:
        both = both.filter(pl.col("p").cast(pl.Float64).is_finite())
    if both.height < LEAST_RUNS or both["p"].n_unique() < 2:
        return None
    y = both["t"].to_numpy()
    if number:
        x = both["p"].cast(pl.Float64).to_numpy()
        groups = _ranged(x)
        correlation = _spearman(x, y)
    else:
        groups = both["p"].cast(pl.String).rank("dense").to_numpy().astype(np.int64) - 1
        correlation = None
    return name, correlation, _share(groups, y), both.height


def _ranged(x: Floats) -> NDArray[np.int64]:
    """Return which value, or of more than six which range of about as many runs, each number is in."""
    own, place = np.unique(x, return_inverse=True)
    if own.size <= _RANGES:
        return place.astype(np.int64)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, _RANGES + 1)))
    return (np.searchsorted(edges, x, "right").clip(1, edges.size - 1) - 1).astype(np.int64)


def _spearman(x: Floats, y: Floats) -> float | None:
    ranks = [pl.Series(v).rank("average").to_numpy() for v in (x, y)]
    a, b = (r - r.mean() for r in ranks)
    below = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return None if below == 0 else float(np.clip((a * b).sum() / below, -1, 1))


def _share(groups: NDArray[np.int64], y: Floats) -> float:
    """Return the share of the variance between groups, less what chance gives; 0 where nothing is left to tell."""
    scale = float(np.abs(y).max())
    if scale > 0:
        y = y / scale
    used, place = np.unique(groups, return_inverse=True)
    total = float(((y - y.mean()) ** 2).sum())
    if total <= 0 or y.size <= used.size:
        return 0.0
    count = np.bincount(place)
    means = np.bincount(place, weights=y) / count
    within = float(((y - means[place]) ** 2).sum())
    free = (used.size - 1) * within / (y.size - used.size)
    return float(np.clip((total - within - free) / total, 0.0, 1.0))
