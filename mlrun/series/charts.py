"""`metrics(points=N)`: at most N rows per series, at a cost that follows N and not the length of the series.

A short series is read whole. Of a long one the rollups are read, at the level that leaves several blocks for every
point wanted; the first, last, least, greatest and first NaN row of each block are its candidates. What blocks cannot
tell exactly is read row by row: blocks cut by the range's ends, blocks that hold a step twice (in themselves, with
another part, or with rows still in the journal), and the journal's rows. Then the candidates are thinned to N.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlrun.contracts import PointFilter
from mlrun.series.chartdata import BLOCK_COLUMNS, Blocks, Points, Range, inside
from mlrun.series.crowd import Crowd
from mlrun.series.downsampling import select, thin
from mlrun.series.points import read_rows, times_of
from mlrun.series.rollups import WHOLE, block_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlrun.series.pointquery import PointQuery
    from mlrun.series.points import Sight

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["chart"]

# at least, with four candidates each; the next finer level has 8 times as many. Fewer of the finest: all rows are read
_BLOCKS_PER_POINT = {True: 0.75, False: 0.25}  # by whether the query is to be exact
_NEAR_STEPS = 1 << 16  # ranges nearer than this are read together
_MAX_READS = 128  # scans for scattered ranges
_SEVERAL = 4  # series that are read together rather than one by one
_BLOCKS_AT_ONCE = 1_000_000


def chart(sight: Sight, query: PointQuery) -> pl.DataFrame:
    """Return the rows that a chart shows, ordered by run, key and `x`, with the columns of `metrics()`."""
    assert query.points is not None
    keys = sight.keys(query)
    if query.axis == "relative":
        sight.learn_first_times(query.run_ids)
    long, told = _long_series(sight, query, keys)
    parts = []
    for some in _together(query, long):
        ready: dict[tuple[str, str], Blocks] = {}
        if len(some) >= _SEVERAL:
            crowd = _crowd(sight, query, some)
            ready, done = crowd.rest(), set(crowd.tidy)
            parts.append(crowd.chart())
            some = [series for series in some if series[0] not in done]
        parts += [_chart_long(sight, query, *series, ready.get(series[:2])) for series in some]
    for run_ids, names in _short_series(sight, query, keys, {s[:2] for s in long}):
        frame = read_rows(sight, query, run_ids, names, last=True)
        parts.append(_thin_frame(frame, query))
    parts += _without_rows(sight, query, told, parts)
    if not parts:
        return read_rows(sight, query, (), (), last=True)
    return pl.concat(parts).sort("run_id", "key", maintain_order=True)


def _thin_frame(frame: pl.DataFrame, query: PointQuery) -> pl.DataFrame:
    """Thin every series that has more rows than wanted; those of a series lie together."""
    assert query.points is not None
    if frame.height <= query.points:
        return frame
    axis = {"step": "step", "time": "time"}.get(query.axis, "x")
    x, y = frame[axis].to_physical().to_numpy(), frame["value"].to_numpy()
    sizes = frame.group_by("run_id", "key", maintain_order=True).len()["len"].to_numpy()
    ends = np.cumsum(sizes)
    keep = np.ones(frame.height, np.bool_)
    for end, size in zip(ends[sizes > query.points], sizes[sizes > query.points], strict=True):
        rows = slice(int(end - size), int(end))
        chosen = select(x[rows], y[rows], query.points, query.method)
        keep[rows] = False
        keep[chosen + rows.start] = True
    return frame.filter(pl.Series(keep))


# -- which series are long ----------------------------------------------------------------------


def _long_series(
    sight: Sight, query: PointQuery, keys: tuple[str, ...] | None
) -> tuple[list[tuple[str, str, int, int]], dict[tuple[str, str], int]]:
    """Return the series to read through rollups: run, key, rows in range (about), rows of the least part.

    And how many rows the rollups tell of, by run and key, where these are more than a short part has.
    """
    assert query.points is not None
    if sight.rollups is None or query.axis == "metric" or not query.run_ids:
        return [], {}
    where = PointFilter(run_ids=query.run_ids, keys=keys, levels=(WHOLE,))
    columns = ["run_id", "key", "count", "first_step", "last_step", "first_time", "last_time"]
    parts = pl.DataFrame(sight.rollups.scan(where, columns=columns).read_all())
    enough = block_rows(0) * _BLOCKS_PER_POINT[query.exact] * query.points
    total = parts.group_by("run_id", "key").agg(pl.col("count").sum().alias("total"))
    # of short parts rollups hold nothing, and nothing is removed of them
    told = {
        (run_id, key): count
        for run_id, key, count in total.filter(pl.col("total") > block_rows(0)).iter_rows()
    }
    parts = parts.with_columns(_share(sight, query, parts))
    rows = (
        parts.group_by("run_id", "key")
        .agg(
            pl.col("count").sum().alias("total"),
            (pl.col("count") * pl.col("share")).sum().cast(pl.Int64).alias("rows"),
            pl.col("count").min().alias("least"),
        )
        .filter((pl.col("total") >= enough) & (pl.col("rows") >= enough))
    )
    return sorted(rows.select("run_id", "key", "rows", "least").iter_rows()), told


def _without_rows(
    sight: Sight, query: PointQuery, told: dict[tuple[str, str], int], parts: list[pl.DataFrame]
) -> list[pl.DataFrame]:
    """Return what rollups tell of series whose rows have gone, because a policy says so."""
    if not told:
        return []
    found = {pair for part in parts for pair in part.select("run_id", "key").unique().iter_rows()}
    gone = sorted(told.keys() - found)
    return [_chart_long(sight, query, *pair, 1, told[pair], None) for pair in gone]


def _share(sight: Sight, query: PointQuery, parts: pl.DataFrame) -> pl.Series:
    """Guess which share of the rows of each part lies in its run's range, as if they were spread evenly."""
    of = {run_id: _range(sight, query, run_id) for run_id in parts["run_id"].unique()}
    bounds = [of[run_id] for run_id in parts["run_id"]]
    share = np.ones(parts.height)
    for kind in ("step", "time"):
        pairs = [b.steps if kind == "step" else b.times for b in bounds]
        low = np.array([-np.inf if low is None else low for low, _ in pairs])
        high = np.array([np.inf if high is None else high for _, high in pairs])
        first = parts[f"first_{kind}"].to_physical().to_numpy().astype(np.float64)
        last = parts[f"last_{kind}"].to_physical().to_numpy().astype(np.float64)
        inside = np.minimum(last, high) - np.maximum(first, low) + 1
        share = np.minimum(share, np.clip(inside / (last - first + 1), 0.0, 1.0))
    return pl.Series("share", share)


def _range(sight: Sight, query: PointQuery, run_id: str) -> Range:
    none = (None, None)
    if query.axis == "relative":
        return Range(none, times_of(sight, query, run_id) or none)
    low, high = (None if b is None else int(b) for b in (query.low, query.high))
    return Range((low, high), none) if query.axis == "step" else Range(none, (low, high))


def _short_series(
    sight: Sight, query: PointQuery, keys: tuple[str, ...] | None, long: set[tuple[str, str]]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...] | None]]:
    """Yield (runs, keys) that together are all series that are not long."""
    with_long = {run_id for run_id, _ in long}
    if others := tuple(r for r in query.run_ids if r not in with_long):
        yield others, keys
    for run_id in sorted(with_long):
        names = sight.known_keys((run_id,)) if keys is None else set(keys)
        if rest := tuple(sorted(k for k in names if (run_id, k) not in long)):
            yield (run_id,), rest


# -- a long series ------------------------------------------------------------------------------


def _level(query: PointQuery, rows: int) -> int:
    """Return the level whose blocks are enough for the points wanted of so many rows."""
    assert query.points is not None
    level = 0
    while rows >= block_rows(level + 1) * _BLOCKS_PER_POINT[query.exact] * query.points:
        level += 1
    return level


def _together(
    query: PointQuery, long: list[tuple[str, str, int, int]]
) -> Iterator[list[tuple[str, str, int, int]]]:
    """Part long series into such of one key whose blocks are of one level, and not too many to be held at once."""
    assert query.points is not None
    most = max(_BLOCKS_AT_ONCE // int(8 * _BLOCKS_PER_POINT[query.exact] * query.points + 1), 1)
    alike: dict[tuple[str, int], list[tuple[str, str, int, int]]] = {}
    for series in long:
        alike.setdefault((series[1], _level(query, series[2])), []).append(series)
    for of in alike.values():
        yield from (of[at : at + most] for at in range(0, len(of), most))


def _crowd(sight: Sight, query: PointQuery, some: list[tuple[str, str, int, int]]) -> Crowd:
    """Read the blocks of several series of one key and level at once: a scan for each takes longer than all else."""
    run_ids = [series[0] for series in some]
    ranges = [_range(sight, query, run_id) for run_id in run_ids]
    return Crowd(sight, query, run_ids, some[0][1], _level(query, some[0][2]), ranges)


def _chart_long(
    sight: Sight,
    query: PointQuery,
    run_id: str,
    key: str,
    rows: int,
    least: int,
    ready: Blocks | None,
) -> pl.DataFrame:
    assert query.points is not None
    level = _level(query, rows)
    points = _Series(sight, query, run_id, key, least, ready).candidates(level).latest()
    if query.axis != "step":
        points = points.pick(np.argsort(points.time, kind="stable"))
    x: NDArray[Any] = points.step if query.axis == "step" else points.time
    seconds = np.zeros(0)
    if query.axis == "relative":
        x = seconds = (points.time - (sight.first_time(run_id) or 0)) / 1e6
        if query.exact:  # the range was a microsecond wider
            inside = query.holds(x)
            points, x, seconds = points.pick(inside), x[inside], seconds[inside]
    chosen = select(x, points.value, query.points, query.method)
    points = points.pick(chosen)
    return pl.DataFrame({
        "run_id": pl.Series([run_id]).new_from_index(0, chosen.size),
        "key": pl.Series([key]).new_from_index(0, chosen.size),
        "step": points.step,
        "time": pl.Series(points.time).cast(pl.Datetime("us", "UTC")),
        "value": points.value,
        **({"x": seconds[chosen]} if query.axis == "relative" else {}),
    })  # fmt: skip


class _Series:
    """One long series within a range; its least part has `least` rows, `ready` are the blocks that are read already."""

    def __init__(
        self,
        sight: Sight,
        query: PointQuery,
        run_id: str,
        key: str,
        least: int,
        ready: Blocks | None = None,
    ) -> None:
        self._ready = ready
        self._sight = sight
        self._of: dict[str, Any] = {"run_ids": (run_id,), "keys": (key,)}
        self._range = bounds = _range(sight, query, run_id)
        self._by_time, self._exact = query.axis != "step", query.exact
        self._least = least
        self._fresh = bounds.cut(Points.of(sight.fresh([run_id], [key])))

    def candidates(self, level: int) -> Points:
        """Return rows of the range: the ends, extremes and first NaN of its blocks of a level, or of finer ones."""
        good, bad = self._judge(self._blocks(level, None, None))
        parts, doubtful = [good.candidates()], [bad]
        if level:
            doubtful = []
            spans = bad.spans()
            for low, high in _reads(spans):
                finer = self._blocks(0, low, high)
                good, bad = self._judge(finer.pick(inside(finer["first_step"], spans)))
                parts.append(good.candidates())
                doubtful.append(bad)
        rest = np.ones(self._fresh.step.size, np.bool_)
        for blocks in doubtful:
            parts += [self._thinned(rows, level) for rows in self._rows(blocks)]
            rest &= ~inside(self._fresh.step, blocks.spans())
        return Points.concat([*parts, self._thinned(self._fresh.pick(rest).latest(), level)])

    def _blocks(self, level: int, low: int | None, high: int | None) -> Blocks:
        """Read the blocks of a level between two steps; of parts too short for it, the block of the whole part."""
        assert self._sight.rollups is not None
        if self._ready is not None and low is None and high is None:
            return self._ready.of_level(level, block_rows(level)).ordered()
        steps, times = self._range.narrowed(low, high), self._range.times
        levels = (WHOLE, level) if self._least <= block_rows(level) else (level,)
        where = PointFilter(**self._of, levels=levels, steps=steps, times=times)
        blocks = Blocks.of(self._sight.rollups.scan(where, columns=BLOCK_COLUMNS).read_all())
        return blocks.of_level(level, block_rows(level)).ordered()

    def _judge(self, blocks: Blocks) -> tuple[Blocks, Blocks]:
        """Part blocks into those that can be taken as they are, and those whose rows must be read."""
        first, last = blocks["first_step"], blocks["last_step"]
        times = blocks["first_time"], blocks["last_time"]
        bad = blocks["raw"] | blocks.overlapping()
        if self._exact:
            bad |= ~self._range.holds((first, last), times)
        steps = np.sort(self._fresh.step)
        bad |= np.searchsorted(steps, last, "right") > np.searchsorted(steps, first)
        return blocks.pick(~bad), blocks.pick(bad)

    def _rows(self, blocks: Blocks) -> Iterator[Points]:
        """Read the rows of some of the smallest blocks, with what the journal says of the same steps."""
        spans = blocks.spans()
        for low, high in blocks.chunks():
            between = (self._fresh.step >= low) & (self._fresh.step <= high)
            parts = [self._fresh.pick(between & inside(self._fresh.step, spans))]
            cut = np.clip(spans[(spans[:, 1] >= low) & (spans[:, 0] <= high)], low, high)
            for near in _reads(cut):
                steps = self._range.narrowed(*near)
                where = PointFilter(**self._of, steps=steps, times=self._range.times)
                columns = ["step", "time", "value", "seq"]
                rows = Points.of(self._sight.stored.scan(where, columns=columns).read_all())
                parts.append(rows.pick(inside(rows.step, cut)))
            yield self._range.cut(Points.concat(parts)).latest()

    def _thinned(self, points: Points, level: int) -> Points:
        """Make rows as sparse as the candidates of blocks of a level are."""
        if self._by_time:
            points = points.pick(np.argsort(points.time, kind="stable"))
        return points.pick(thin(points.value, 1 + points.step.size // block_rows(level)))


def _reads(spans: Ints) -> list[tuple[int, int]]:
    """Join spans that are near each other: reading what lies between costs less than another scan."""
    if not len(spans):
        return []
    gaps = spans[1:, 0] - spans[:-1, 1]
    apart = np.flatnonzero(gaps > _NEAR_STEPS)
    if apart.size >= _MAX_READS:
        apart = np.sort(apart[np.argsort(gaps[apart])[-_MAX_READS + 1 :]])
    first = spans[np.concatenate([[0], apart + 1]), 0]
    last = spans[np.append(apart, len(spans) - 1), 1]
    return list(zip(first.tolist(), last.tolist(), strict=True))
