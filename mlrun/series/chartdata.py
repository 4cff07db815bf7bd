"""Rows and rollup blocks of one series as NumPy columns: the material of charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.arrowmemory import numpy_of, valid_of
from mlrun.series.rollups import WHOLE
from mlrun.tables import ROLLUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["BLOCK_COLUMNS", "Blocks", "Points", "Range", "inside"]

_CHUNK_BLOCKS = 32_768  # smallest blocks whose rows are read at once: 2M rows
BLOCK_COLUMNS = [c for c in ROLLUPS.names if c not in {"project", "run_id", "key", "nan", "sum"}]


@dataclass
class Points:
    """Rows of one series; `seq` breaks ties of steps and times."""

    step: Ints
    time: Ints
    value: Floats
    seq: Ints

    def pick(self, rows: Any) -> Points:
        """Return some rows, by index, slice or mask."""
        return Points(self.step[rows], self.time[rows], self.value[rows], self.seq[rows])

    def latest(self) -> Points:
        """Keep the last written row of each step, in the order of steps."""
        rows = self.pick(np.lexsort((self.seq, self.time, self.step)))
        return rows.pick(np.append(rows.step[1:] != rows.step[:-1], True)[: rows.step.size])

    @classmethod
    def of(cls, rows: pa.Table) -> Points:
        """Take rows of METRICS."""
        names = ("step", "time", "value", "seq")
        return cls(*(numpy_of(rows.column(n)) for n in names))

    @classmethod
    def concat(cls, parts: list[Points]) -> Points:
        """Put rows together, in no order."""
        empty = np.zeros(0, np.int64)
        parts = [cls(empty, empty, np.zeros(0), empty), *parts]
        names = ("step", "time", "value", "seq")
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


@dataclass(frozen=True)
class Range:
    """Bounds of steps and of times, inclusive; None for none."""

    steps: tuple[int | None, int | None]
    times: tuple[int | None, int | None]

    def holds(self, step: tuple[Ints, Ints], time: tuple[Ints, Ints]) -> Bools:
        """Whether spans lie inside; a row is a span of one step and one time."""
        keep = np.ones(step[0].size, np.bool_)
        for (first, last), (low, high) in ((step, self.steps), (time, self.times)):
            if low is not None:
                keep &= first >= low
            if high is not None:
                keep &= last <= high
        return keep

    def narrowed(self, low: int | None, high: int | None) -> tuple[int | None, int | None]:
        """Return the steps that lie in the range and between two others."""
        lows = [b for b in (low, self.steps[0]) if b is not None]
        highs = [b for b in (high, self.steps[1]) if b is not None]
        return max(lows, default=None), min(highs, default=None)

    def cut(self, points: Points) -> Points:
        """Return the rows that lie inside."""
        return points.pick(self.holds((points.step, points.step), (points.time, points.time)))


class Blocks:
    """Columns of rollup blocks, ordered by their first step; `valid` tells which of a nullable column are there."""

    def __init__(self, columns: dict[str, NDArray[Any]], valid: dict[str, Bools]) -> None:
        self._columns = columns
        self._valid = valid

    @classmethod
    def of(cls, rows: pa.Table) -> Blocks:
        """Take rows of ROLLUPS."""
        return cls(
            {name: numpy_of(rows.column(name)) for name in BLOCK_COLUMNS},
            {name: valid_of(rows.column(name)) for name in BLOCK_COLUMNS},
        )

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def valid(self, name: str) -> Bools:
        """Return which values of a column are there."""
        return self._valid[name]

    def named(self, name: str, column: NDArray[Any]) -> Blocks:
        """Return the blocks with one more column."""
        there = np.ones(column.size, np.bool_)
        return Blocks({**self._columns, name: column}, {**self._valid, name: there})

    def pick(self, rows: Any) -> Blocks:
        """Return some blocks, by index, slice or mask."""
        return Blocks(
            {n: c[rows] for n, c in self._columns.items()},
            {n: v[rows] for n, v in self._valid.items()},
        )

    def of_level(self, level: int, rows: int) -> Blocks:
        """Return the blocks of a level, and those of whole parts that are no longer than `rows`."""
        short = (self["level"] == WHOLE) & (self["count"] <= rows)
        return self.pick((self["level"] == level) | short)

    def ordered(self) -> Blocks:
        """Return the blocks in the order of their first step."""
        return self.pick(np.argsort(self["first_step"], kind="stable"))

    def overlapping(self) -> Bools:
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

    def candidates(self) -> Points:
        """Return the rows that the blocks tell of."""
        parts = []
        for name in ("first", "last", "min", "max", "nan"):
            there = self._valid[f"{name}_step"]
            step, time = self[f"{name}_step"][there], self[f"{name}_time"][there]
            value = np.full(step.size, np.nan) if name == "nan" else self[name][there]
            parts.append(Points(step, time, value, np.zeros(step.size, np.int64)))
        return Points.concat(parts)


def inside(steps: Ints, spans: Ints) -> Bools:
    """Whether steps lie in one of some disjoint ascending spans."""
    if not len(spans):
        return np.zeros(steps.size, np.bool_)
    place = np.searchsorted(spans[:, 0], steps, "right") - 1
    return np.asarray((place >= 0) & (steps <= spans[place, 1]))
