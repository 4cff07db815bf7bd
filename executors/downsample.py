"""Downsampling of many series at once: shards of series as calls of an executor, each vectorized by `tsdownsample`.

Series of arrays: on Ray, arrays that lie in its object store are read where they lie, by as many workers as there are
cores; arrays of this process are handed over, which costs one copy. An executor without shared memory would copy them
through a pipe, which takes longer than to choose the points: there, and where no executor is named, threads of this
process do the work.

Series of a store (`compare`): every worker asks the store for the charts of its own runs, so that long series are
answered from rollups, and only the chosen points travel.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlrun.errors import ConfigError, JobError
from mlrun.series.downsampling import select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mlrun.execution.law import Executor

    _Chosen = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float64]]  # sizes, x, values

__all__ = ["METHODS", "compare", "downsample"]

METHODS = ("minmaxlttb", "lttb", "minmax", "m4")
# for each slot: the calls that run together hold half of the series. Ray makes calls wait for each other if their
# arguments are more than 70 % of its store; and between more and smaller calls more time is lost
_SHARDS = 2
_MOST = 256  # series in one call


def downsample(
    series: Mapping[str, Any],
    points: int = 2000,
    *,
    method: str = "minmaxlttb",
    executor: Executor | None = None,
) -> pl.DataFrame:
    """Choose the points of many series.

    Args:
        series: key -> values, or (x, values) with ascending x; float64 arrays, or on Ray references of such arrays.
            Without x it is the index.
        points: at most so many of each; first, last, least, greatest and the beginnings of gaps are among them.
        method: `minmaxlttb`, `lttb`, `minmax` or `m4`.
        executor: where; None for threads of this process.

    Returns:
        `key, x, value`, ordered as `series` is, then by x.

    Raises:
        ConfigError: an argument has no meaning.
        JobError: a series cannot be read.
    """
    _check(points, method)
    keys = list(series)
    if executor is None or not executor.shares_memory or not keys:
        return _frame(keys, _joined(list(_by_threads([series[k] for k in keys], points, method))))
    shards = _shards(keys, executor.slots)
    work = [([series[k] for k in shard], points, method) for shard in shards]
    # each answer becomes a frame while others are worked out
    frames = _in_order(executor, _choose, work, lambda index, found: _frame(shards[index], found))
    joined: pl.DataFrame = pl.concat(frames, how="vertical_relaxed")
    return joined


def compare(
    store: Any,
    run_ids: Sequence[str],
    keys: Sequence[str] | None = None,
    points: int = 2000,
    *,
    executor: Executor,
    **options: Any,
) -> pl.DataFrame:
    """Return the charts of many runs, as `mlrun.metrics(run_ids, keys, points)` does.

    Args:
        store: a `Store` that the workers can open.
        run_ids: the runs.
        keys: metric names or patterns; None for all.
        points: at most so many of each series.
        executor: where the runs are shared out.
        **options: those of `mlrun.metrics`: `x`, `start`, `end`, `method`.

    Raises:
        JobError: a part failed.
    """
    _check(points, options.get("method", METHODS[0]))
    wanted = list(dict.fromkeys(run_ids))
    # every call opens one snapshot of the store, which costs more than a chart: as few calls as there are slots
    size = max(1, -(-len(wanted) // executor.slots))
    shards = [wanted[i : i + size] for i in range(0, len(wanted), size)]
    asked = None if keys is None else list(keys)
    work = [(store, shard, asked, points, options) for shard in shards]
    parts = [frame for frame in _in_order(executor, _charts, work) if frame.height]
    if not parts:
        return _charts((store, [], asked, points, options))
    joined: pl.DataFrame = pl.concat(parts).sort("run_id", "key", maintain_order=True)
    return joined


def _check(points: int, method: str) -> None:
    if isinstance(points, bool) or not isinstance(points, int) or points < 4:
        raise ConfigError(f"points must be a whole number of 4 or more, not {points!r}")
    if method not in METHODS:
        raise ConfigError(f"no method {method!r}; known: {', '.join(METHODS)}")


def _shards(keys: list[str], slots: int) -> list[list[str]]:
    size = min(_MOST, max(1, -(-len(keys) // (slots * _SHARDS))))
    return [keys[i : i + size] for i in range(0, len(keys), size)]


def _in_order(
    executor: Executor, fn: Any, work: list[Any], then: Callable[[int, Any], Any] = lambda _, v: v
) -> Iterator[Any]:
    found: dict[int, Any] = {}
    for index, value in executor.map(fn, work):
        if isinstance(value, JobError):
            raise value
        found[index] = then(index, value)
    yield from (found[index] for index in range(len(work)))


def _choose(work: tuple[list[Any], int, str]) -> _Chosen:
    """Choose the points of some series; references are read where they lie."""
    series, points, method = work
    return _joined([_chosen(one, points, method) for one in _resolved(series)])


def _joined(parts: list[tuple[Any, NDArray[np.float64]]]) -> _Chosen:
    """Put what was chosen of some series end to end: three arrays travel faster than two of each series."""
    sizes = np.array([values.size for _, values in parts], np.int64)
    if not parts:
        return sizes, np.zeros(0, np.int64), np.zeros(0)
    return sizes, np.concatenate([x for x, _ in parts]), np.concatenate([v for _, v in parts])


def _resolved(series: list[Any]) -> list[Any]:
    """Replace references by their arrays, asking for all of them at once: each question is a round trip."""
    parts = [part for one in series for part in (one if isinstance(one, tuple) else (one,))]
    if all(isinstance(part, np.ndarray) for part in parts):
        return series
    import ray

    asked = [part for part in parts if isinstance(part, ray.ObjectRef)]
    found = dict(zip(asked, ray.get(asked), strict=True))

    def read(part: Any) -> Any:
        return found[part] if isinstance(part, ray.ObjectRef) else part

    return [tuple(map(read, one)) if isinstance(one, tuple) else read(one) for one in series]


def _chosen(one: Any, points: int, method: str) -> tuple[Any, NDArray[np.float64]]:
    x, given = one if isinstance(one, tuple) else (None, one)
    values = np.asarray(given, np.float64)
    positions = None if x is None else np.asarray(x)
    if positions is not None and positions.shape != values.shape:
        raise ConfigError(f"a series has {positions.size} positions and {values.size} values")
    chosen = select(positions, values, points, method)
    return (chosen if positions is None else positions[chosen]), values[chosen]


def _by_threads(series: list[Any], points: int, method: str) -> Iterator[Any]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # tsdownsample lets other threads run
        yield from pool.map(lambda one: _chosen(one, points, method), series)


def _frame(keys: list[str], found: _Chosen) -> pl.DataFrame:
    sizes, x, values = found
    rows = np.repeat(np.arange(len(keys), dtype=np.uint32), sizes)
    named = pl.Series("key", keys, dtype=pl.String)
    return pl.DataFrame({"key": named.gather(rows), "x": x, "value": values})


def _charts(work: tuple[Any, list[str], list[str] | None, int, dict[str, Any]]) -> pl.DataFrame:
    from mlrun.verbs import metrics

    store, run_ids, keys, points, options = work
    return metrics(run_ids, keys, points, store=store, **options)
