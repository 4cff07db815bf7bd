"""`metrics(points=N)`: at most N rows per series, at a cost that follows N and not the length of the series.

A short series is read whole. Of a long one the rollups are read, at the level that leaves several blocks for every
point wanted; the first, last, least, greatest and first NaN row of each block are its candidates. What blocks cannot
tell exactly is read row by row: blocks cut by the range's ends, blocks that hold a step twice (in themselves, with
another part, or with rows still in the journal), and the journal's rows. Then the candidates are thinned to N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from mlrun.contracts import PointFilter
from mlrun.downsampling import select, thin
from mlrun.points import read_rows, times_of
from mlrun.rollups import WHOLE, block_rows
from mlrun.tables import ROLLUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlrun.pointquery import PointQuery
    from mlrun.points import Sight

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["chart"]

_BLOCKS_PER_POINT = 2  # at least; so a level is chosen with up to 8 times as many
_CHUNK_BLOCKS = 32_768  # smallest blocks whose rows are read at once: 2M rows
_NEAR_STEPS = 1 << 18  # ranges nearer than this are read together
_MAX_READS = 128  # scans for scattered ranges
_COLUMNS = [c for c in ROLLUPS.names if c not in {"project", "run_id", "key", "nan", "sum"}]


@dataclass
class _Points:
    """Rows of one series; `seq` breaks ties of steps and times."""

    step: Ints
    time: Ints
    value: Floats
    seq: Ints

    def pick(self, rows: Any) -> _Points:
        return _Points(self.step[rows], self.time[rows], self.value[rows], self.seq[rows])

    def latest(self) -> _Points:
        """Keep the last written row of each step, in the order of steps."""
        rows = self.pick(np.lexsort((self.seq, self.time, self.step)))
        return rows.pick(np.append(rows.step[1:] != rows.step[:-1], True)[: rows.step.size])

    @classmethod
    def of(cls, rows: pa.Table) -> _Points:
        names = ("step", "time", "value", "seq")
        return cls(*(_numpy(rows.column(n))[0] for n in names))

    @classmethod
    def concat(cls, parts: list[_Points]) -> _Points:
        empty = np.zeros(0, np.int64)
        parts = [cls(empty, empty, np.zeros(0), empty), *parts]
        names = ("step", "time", "value", "seq")
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


@dataclass(frozen=True)
class _Range:
    """Bounds of steps and of times, inclusive; None for none."""

    steps: tuple[int | None, int | None]
    times: tuple[int | None, int | None]

    def holds(self, step: tuple[Ints, Ints], time: tuple[Ints, Ints]) -> NDArray[np.bool_]:
        """Whether spans lie inside; a row is a span of one step and one time."""
        keep = np.ones(step[0].size, np.bool_)
        for (first, last), (low, high) in ((step, self.steps), (time, self.times)):
            if low is not None:
                keep &= first >= low
            if high is not None:
                keep &= last <= high
        return keep

    def cut(self, points: _Points) -> _Points:
        return points.pick(self.holds((points.step, points.step), (points.time, points.time)))


def chart(sight: Sight, query: PointQuery) -> pl.DataFrame:
    """Return the rows that a chart shows, ordered by run, key and `x`; columns as `mlrun.points.metrics` has them."""
    assert query.points is not None
    keys = sight.keys(query)
    long = _long_series(sight, query, keys)
    parts = [_chart_long(sight, query, *series) for series in long]
    for run_ids, names in _short_series(sight, query, keys, {s[:2] for s in long}):
        frame = read_rows(sight, query, run_ids, names, last=True)
        parts.append(_thin_frame(frame, query))
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
) -> list[tuple[str, str, int]]:
    """Return (run, key, rows in range, about) of the series that are read through their rollups."""
    assert query.points is not None
    if sight.rollups is None or query.axis == "metric":
        return []
    columns = ["run_id", "key", "count", "first_step", "last_step", "first_time", "last_time"]
    where = PointFilter(run_ids=query.run_ids, keys=keys, levels=(WHOLE,))
    parts = pl.DataFrame(sight.rollups.scan(where, columns=columns).read_all())
    least = block_rows(0) * _BLOCKS_PER_POINT * query.points
    total = parts.group_by("run_id", "key").agg(pl.col("count").sum())
    out = []
    for run_id, key, _ in total.filter(pl.col("count") >= least).sort("run_id", "key").iter_rows():
        bounds = _range(sight, query, run_id)
        of = parts.filter((pl.col("run_id") == run_id) & (pl.col("key") == key))
        rows = _rows_in(of, bounds)
        if rows >= least:
            out.append((run_id, key, rows))
    return out


def _rows_in(parts: pl.DataFrame, bounds: _Range) -> int:
    """Guess how many rows of some parts lie in a range, as if they were spread evenly."""
    share = np.ones(parts.height)
    for kind, (low, high) in (("step", bounds.steps), ("time", bounds.times)):
        first = parts[f"first_{kind}"].to_physical().to_numpy().astype(np.float64)
        last = parts[f"last_{kind}"].to_physical().to_numpy().astype(np.float64)
        inside = np.minimum(last, np.inf if high is None else high)
        inside = inside - np.maximum(first, -np.inf if low is None else low) + 1
        share = np.minimum(share, np.clip(inside / (last - first + 1), 0.0, 1.0))
    return int((parts["count"].to_numpy() * share).sum())


def _range(sight: Sight, query: PointQuery, run_id: str) -> _Range:
    none = (None, None)
    if query.axis == "relative":
        return _Range(none, times_of(sight, query, run_id) or none)
    low, high = (None if b is None else int(b) for b in (query.low, query.high))
    return _Range((low, high), none) if query.axis == "step" else _Range(none, (low, high))


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


def _chart_long(sight: Sight, query: PointQuery, run_id: str, key: str, rows: int) -> pl.DataFrame:
    assert query.points is not None
    level = 0
    while rows >= block_rows(level + 1) * _BLOCKS_PER_POINT * query.points:
        level += 1
    series = _Series(sight, run_id, key, _range(sight, query, run_id), level)
    points = series.candidates().latest()
    if query.axis != "step":
        points = points.pick(np.argsort(points.time, kind="stable"))
    x: NDArray[Any] = points.step if query.axis == "step" else points.time
    seconds = np.zeros(0)
    if query.axis == "relative":
        x = seconds = (points.time - (sight.first_time(run_id) or 0)) / 1e6
        inside = np.ones(x.size, np.bool_)  # the range was a microsecond wider
        inside &= x >= (-np.inf if query.low is None else query.low)
        inside &= x <= (np.inf if query.high is None else query.high)
        points, x, seconds = points.pick(inside), x[inside], seconds[inside]
    chosen = select(x, points.value, query.points, query.method)
    points = points.pick(chosen)
    return pl.DataFrame({
        "run_id": pl.repeat(run_id, chosen.size, dtype=pl.String, eager=True),
        "key": pl.repeat(key, chosen.size, dtype=pl.String, eager=True),
        "step": points.step,
        "time": pl.Series(points.time).cast(pl.Datetime("us", "UTC")),
        "value": points.value,
        **({"x": seconds[chosen]} if query.axis == "relative" else {}),
    })  # fmt: skip


class _Blocks:
    """Columns of rollup blocks, ordered by their first step; `valid` tells which of a nullable column are there."""

    def __init__(
        self, columns: dict[str, NDArray[Any]], valid: dict[str, NDArray[np.bool_]]
    ) -> None:
        self._columns = columns
        self._valid = valid

    @classmethod
    def of(cls, rows: pa.Table) -> _Blocks:
        both = {name: _numpy(rows.column(name)) for name in _COLUMNS}
        return cls({n: b[0] for n, b in both.items()}, {n: b[1] for n, b in both.items()})

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def pick(self, rows: Any) -> _Blocks:
        return _Blocks(
            {n: c[rows] for n, c in self._columns.items()},
            {n: v[rows] for n, v in self._valid.items()},
        )

    def overlapping(self) -> NDArray[np.bool_]:
        """Whether a block shares a step with another."""
        first, last = self["first_step"], self["last_step"]
        out = np.zeros(first.size, np.bool_)
        out[1:] = first[1:] <= np.maximum.accumulate(last)[:-1]
        out[:-1] |= last[:-1] >= first[1:]
        return out

    def spans(self) -> Ints:
        """Return the steps that the blocks span, as disjoint ascending (first, last) pairs."""
        first, last = self["first_step"], np.maximum.accumulate(self["last_step"])
        if not first.size:
            return np.zeros((0, 2), np.int64)
        new = np.concatenate([[True], first[1:] > last[:-1]])
        ends = np.append(np.flatnonzero(new)[1:] - 1, first.size - 1)
        return np.stack([first[new], last[ends]], axis=1)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Part the steps that the blocks span, so that each part has a bounded number of rows."""
        first, last = self["first_step"], self["last_step"]
        if first.size:
            lows = np.unique(first[::_CHUNK_BLOCKS])
            yield from zip(lows.tolist(), [*(lows[1:] - 1).tolist(), int(last.max())], strict=True)

    def candidates(self) -> _Points:
        """Return the rows that the blocks tell of."""
        parts = []
        for name in ("first", "last", "min", "max", "nan"):
            there = self._valid[f"{name}_step"]
            step, time = self[f"{name}_step"][there], self[f"{name}_time"][there]
            value = np.full(step.size, np.nan) if name == "nan" else self[name][there]
            parts.append(_Points(step, time, value, np.zeros(step.size, np.int64)))
        return _Points.concat(parts)


class _Series:
    """One long series within a range, seen through blocks of one level."""

    def __init__(self, sight: Sight, run_id: str, key: str, bounds: _Range, level: int) -> None:
        self._sight = sight
        self._of: dict[str, Any] = {"run_ids": (run_id,), "keys": (key,)}
        self._range = bounds
        self._level = level
        self._fresh = bounds.cut(_Points.of(sight.fresh([run_id], [key])))

    def candidates(self) -> _Points:
        """Return rows among which the first, last, least and greatest of the range are, and NaN of its gaps."""
        good, bad = self._judge(self._blocks(self._level, self._range.steps))
        parts, doubtful = [good.candidates()], [bad]
        if self._level:
            doubtful = []
            spans = bad.spans()
            for steps in _reads(spans):
                smaller = self._blocks(0, steps)
                good, bad = self._judge(smaller.pick(_inside(smaller["first_step"], spans)))
                parts.append(good.candidates())
                doubtful.append(bad)
        rest = np.ones(self._fresh.step.size, np.bool_)
        for blocks in doubtful:
            parts += self._rows(blocks)
            rest &= ~_inside(self._fresh.step, blocks.spans())
        return _Points.concat([*parts, self._thinned(self._fresh.pick(rest).latest())])

    def _blocks(self, level: int, steps: tuple[int | None, int | None]) -> _Blocks:
        """Read the blocks of a level; of parts that are too short for it, the one block of the whole part."""
        assert self._sight.rollups is not None
        where = PointFilter(**self._of, levels=(WHOLE, level), steps=steps, times=self._range.times)
        blocks = _Blocks.of(self._sight.rollups.scan(where, columns=_COLUMNS).read_all())
        short = (blocks["level"] == WHOLE) & (blocks["count"] <= block_rows(level))
        blocks = blocks.pick(short | (blocks["level"] == level))
        return blocks.pick(np.argsort(blocks["first_step"], kind="stable"))

    def _judge(self, blocks: _Blocks) -> tuple[_Blocks, _Blocks]:
        """Part blocks into those that can be taken as they are, and those whose rows must be read."""
        first, last = blocks["first_step"], blocks["last_step"]
        times = blocks["first_time"], blocks["last_time"]
        bad = blocks["raw"] | blocks.overlapping() | ~self._range.holds((first, last), times)
        steps = np.sort(self._fresh.step)
        bad |= np.searchsorted(steps, last, "right") > np.searchsorted(steps, first)
        return blocks.pick(~bad), blocks.pick(bad)

    def _rows(self, blocks: _Blocks) -> Iterator[_Points]:
        """Read the rows of some of the smallest blocks, with what the journal says of the same steps."""
        spans = blocks.spans()
        for low, high in blocks.chunks():
            inside = (self._fresh.step >= low) & (self._fresh.step <= high)
            parts = [self._fresh.pick(inside & _inside(self._fresh.step, spans))]
            cut = np.clip(spans[(spans[:, 1] >= low) & (spans[:, 0] <= high)], low, high)
            for steps in _reads(cut):
                where = PointFilter(**self._of, steps=steps, times=self._range.times)
                columns = ["step", "time", "value", "seq"]
                rows = _Points.of(self._sight.stored.scan(where, columns=columns).read_all())
                parts.append(rows.pick(_inside(rows.step, cut)))
            yield self._thinned(self._range.cut(_Points.concat(parts)).latest())

    def _thinned(self, points: _Points) -> _Points:
        """Make rows as sparse as the candidates of blocks are."""
        return points.pick(thin(points.value, 1 + points.step.size // block_rows(self._level)))


def _numpy(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return values (0 where null) and which are there."""
    valid = np.ones(len(column), np.bool_)
    if column.null_count:
        valid = column.is_valid().to_numpy()
        column = column.fill_null(pa.scalar(0).cast(column.type))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.to_numpy(), valid


def _inside(steps: Ints, spans: Ints) -> NDArray[np.bool_]:
    """Whether steps lie in one of some disjoint ascending spans."""
    if not len(spans):
        return np.zeros(steps.size, np.bool_)
    place = np.searchsorted(spans[:, 0], steps, "right") - 1
    return np.asarray((place >= 0) & (steps <= spans[place, 1]))


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
