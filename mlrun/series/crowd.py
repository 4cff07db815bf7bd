"""Charts of many long series at once: their blocks are read by one scan, and judged and sorted as one array.

It serves series whose blocks follow upon each other and of which the journal holds nothing new, as those of ended runs
do. What is not so tidy is handed back, for `charts` to look at one by one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlrun.contracts import PointFilter
from mlrun.series.chartdata import BLOCK_COLUMNS, Blocks
from mlrun.series.downsampling import select
from mlrun.series.rollups import WHOLE, block_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mlrun.series.chartdata import Range
    from mlrun.series.pointquery import PointQuery
    from mlrun.series.points import Sight

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["Crowd"]

_FAR = 1 << 62


class Crowd:
    """Long series of one key whose blocks are of one level.

    Args:
        sight: of the store.
        query: what is asked.
        run_ids: whose series, each once.
        key: of all.
        level: of the blocks.
        ranges: of each run.
    """

    def __init__(
        self,
        sight: Sight,
        query: PointQuery,
        run_ids: Sequence[str],
        key: str,
        level: int,
        ranges: Sequence[Range],
    ) -> None:
        assert sight.rollups is not None
        self._sight, self._query, self._run_ids, self._key = sight, query, list(run_ids), key
        self._ends = _Ends(ranges)
        where = PointFilter(
            run_ids=tuple(run_ids), keys=(key,), levels=(WHOLE, level),
            steps=self._ends.hull("step"), times=self._ends.hull("time"),
        )  # fmt: skip
        rows = sight.rollups.scan(where, columns=["run_id", *BLOCK_COLUMNS]).read_all()
        names = pl.Series(rows.column("run_id")).cast(pl.Enum(self._run_ids))
        blocks = Blocks.of(rows).named("run", names.to_physical().to_numpy().astype(np.int64))
        blocks = blocks.of_level(level, block_rows(level))
        blocks = blocks.pick(np.lexsort((blocks["first_step"], blocks["run"])))
        inside, whole = self._ends.judge(blocks)
        tidy = self._tidy(blocks, whole | (not query.exact))
        self._rest = blocks.pick(~tidy[blocks["run"]])
        self._blocks = blocks.pick(tidy[blocks["run"]] & inside)
        self.tidy = [run_id for run_id, good in zip(self._run_ids, tidy, strict=True) if good]

    def _tidy(self, blocks: Blocks, usable: Bools) -> Bools:
        """Return of which runs all blocks can be taken as they are; shape (runs,)."""
        run = blocks["run"]
        crossed = (run[1:] == run[:-1]) & (blocks["first_step"][1:] <= blocks["last_step"][:-1])
        tidy = np.ones(len(self._run_ids), np.bool_)
        tidy[run[1:][crossed]] = False
        tidy[run[blocks["raw"] | ~usable]] = False
        fresh = self._sight.fresh(self._run_ids, [self._key])
        new = set(fresh.column("run_id").unique().to_pylist())
        return tidy & np.array([run_id not in new for run_id in self._run_ids], np.bool_)

    def rest(self) -> dict[tuple[str, str], Blocks]:
        """Return the blocks of the series that are not tidy, by run and key."""
        run = self._rest["run"]
        return {
            (self._run_ids[run[rows.start]], self._key): self._rest.pick(rows)
            for rows in _each(run)
        }

    def chart(self) -> pl.DataFrame:
        """Return the rows that the charts of the tidy series show, by run and x."""
        query = self._query
        run, step, time, value = _candidates(self._blocks)
        if query.axis != "step":
            order = np.lexsort((time, run))
            run, step, time, value = run[order], step[order], time[order], value[order]
        x: Ints | Floats = step if query.axis == "step" else time
        if query.axis == "relative":
            first = [self._sight.first_time(run_id) or 0 for run_id in self._run_ids]
            x = (time - np.array(first, np.int64)[run]) / 1e6
            if query.exact:  # the range was a microsecond wider
                keep = query.holds(x)
                run, step, time, value = run[keep], step[keep], time[keep], value[keep]
                x = x[keep]
        chosen = self._chosen(run, x, value)
        names = pl.Series("run_id", self._run_ids, dtype=pl.String)
        return pl.DataFrame({
            "run_id": names.gather(run[chosen]),
            "key": pl.Series([self._key]).new_from_index(0, chosen.size),
            "step": step[chosen],
            "time": pl.Series(time[chosen]).cast(pl.Datetime("us", "UTC")),
            "value": value[chosen],
            **({"x": x[chosen]} if query.axis == "relative" else {}),
        })  # fmt: skip

    def _chosen(self, run: Ints, x: Ints | Floats, value: Floats) -> Ints:
        """Thin every series to the points wanted; returns indices."""
        assert self._query.points is not None
        parts = [np.zeros(0, np.int64)]
        for of in _each(run):
            parts.append(
                of.start + select(x[of], value[of], self._query.points, self._query.method)
            )
        return np.concatenate(parts)


def _each(run: Ints) -> list[slice]:
    """Return where the rows of each run lie; they lie together."""
    begins = np.flatnonzero(np.diff(run, prepend=-1)).tolist()
    return [slice(*ends) for ends in pairwise([*begins, run.size])]


class _Ends:
    """The ranges of some runs as arrays; what has no end ends far away."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._of: dict[str, tuple[Ints, Ints]] = {}
        for kind in ("step", "time"):
            pairs = [r.steps if kind == "step" else r.times for r in ranges]
            low = [-_FAR if low is None else low for low, _ in pairs]
            high = [_FAR if high is None else high for _, high in pairs]
            self._of[kind] = (np.array(low, np.int64), np.array(high, np.int64))

    def hull(self, kind: str) -> tuple[int | None, int | None]:
        """Return the bounds that hold those of all runs."""
        low, high = (int(self._of[kind][0].min()), int(self._of[kind][1].max()))
        return (None if low <= -_FAR else low), (None if high >= _FAR else high)

    def judge(self, blocks: Blocks) -> tuple[Bools, Bools]:
        """Return which blocks have a part in the range of their run, and which of the others are no matter or whole."""
        some = np.ones(blocks["run"].size, np.bool_)
        whole = some.copy()
        for kind, (lows, highs) in self._of.items():
            low, high = lows[blocks["run"]], highs[blocks["run"]]
            first, last = blocks[f"first_{kind}"], blocks[f"last_{kind}"]
            some &= (last >= low) & (first <= high)
            whole &= (first >= low) & (last <= high)
        return some, whole | ~some


def _candidates(blocks: Blocks) -> tuple[Ints, Ints, Ints, Floats]:
    """Return run, step, time and value of the rows that tidy, ordered blocks tell of, each once, by run and step."""
    parts: dict[str, list[NDArray[Any]]] = {"step": [], "time": [], "value": []}
    for name in ("first", "last", "min", "max", "nan"):
        there = blocks.valid(f"{name}_step")
        if not there.any():
            continue
        for kind in ("step", "time"):
            column = np.where(there, blocks[f"{name}_{kind}"], blocks[f"first_{kind}"])
            parts[kind].append(column)
        own = np.full(there.size, np.nan) if name == "nan" else blocks[name]
        parts["value"].append(np.where(there, own, blocks["first"]))
    if not parts["step"]:
        none = np.zeros(0, np.int64)
        return none, none, none, np.zeros(0)
    wide = np.stack(parts["step"], axis=1)
    order = np.argsort(wide, axis=1, kind="stable")
    step, time, value = (
        np.take_along_axis(np.stack(parts[n], axis=1), order, axis=1).ravel() for n in parts
    )
    run = np.repeat(blocks["run"], wide.shape[1])
    once = np.ones(step.size, np.bool_)
    once[1:] = (step[1:] != step[:-1]) | (run[1:] != run[:-1])
    return run[once], step[once], time[once], value[once]
