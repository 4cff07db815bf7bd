"""`metrics()`: logged points from the journal and the series store, as one frame.

The journal is read first, then the stores' snapshots are pinned, then what the snapshots' marks cover is left out of
the journal: so a point is seen once, whatever the absorber does meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from mlrun.arrowmemory import arrow_of, empty_table, numpy_of
from mlrun.asking import asked, visible_ids
from mlrun.contracts import CanRollUp, Finding, PointFilter
from mlrun.errors import CorruptStore, SnapshotExpired
from mlrun.journal.snapshot import read_journal
from mlrun.notices import warn_of_damage
from mlrun.series.ordering import sort_rows
from mlrun.series.pointquery import PointQuery, parse_query
from mlrun.series.rollups import WHOLE
from mlrun.tables import METRICS, ROLLUPS, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from mlrun.contracts import SeriesView
    from mlrun.journal.snapshot import JournalSnapshot
    from mlrun.store import Store

__all__ = ["Sight", "metrics"]

_SERIES = ["run_id", "key"]
_TRIES = 3
_SINGLE = 16  # so few series are read one by one, without the text that tells them apart


def _ids(given: Any) -> list[str]:
    from mlrun.query import run_ids_of

    return run_ids_of(given)


def _names(keys: Any) -> Any:
    return keys if keys is None or isinstance(keys, str) else list(keys)


@asked("metrics", run_ids=_ids, keys=_names, table=lambda table: table.name)
def metrics(
    store: Store,
    run_ids: Any,
    keys: Iterable[str] | str | None = None,
    points: int | None = None,
    x: str = "step",
    start: float | datetime | None = None,
    end: float | datetime | None = None,
    method: str = "minmaxlttb",
    last: bool = False,
    exact: bool = True,
    *,
    table: Table = METRICS,
) -> pl.DataFrame:
    """Return logged points: `run_id, key, step, time, value`; the arguments are those of `mlrun.metrics`.

    Rows are ordered by run, key and `x`. With `relative` and `metrics.<key>` a column `x` is added (Float64): seconds
    since the run's first point, or the other metric's value last written at the same step (steps without are left out).

    Args:
        store: where from.
        run_ids: an id, a run, a frame with `run_id`, or a list of these; unknown ones have no points.
        keys: names or patterns (`val/*`); a name that is there is never taken for a pattern.
        points: at most so many rows per series.
        x: `step`, `time`, `relative` or `metrics.<key>`.
        start: first `x` wanted, inclusive; a time without zone is UTC, a whole number beside `time` microseconds.
        end: last `x` wanted, inclusive.
        method: how to choose among more rows than `points`.
        last: keep one row per (run, key, step), the one written last. With `points` it is always so.
        exact: False lets a long series reach beyond `start` and `end` by as much as lies between two rows.
        table: METRICS or SYSTEM_METRICS.

    Raises:
        QueryError: an argument has no meaning.
    """
    ids = visible_ids(store, _ids(run_ids))
    query = parse_query(ids, keys, points, x, start, end, method, last, exact)
    look = getattr(store, "look", None)  # of the moment, see `mlrun.lookup.look`
    for attempt in range(_TRIES):
        sight = look.points(table, again=attempt > 0) if look else Sight(store, table)
        try:
            return _answer(sight, query)
        except CorruptStore as error:
            if sight.rollups is None:
                raise
            sight.leave_rollups()  # they only save time: damage to them costs no answer
            found = _answer(sight, query)
            warn_of_damage([Finding("lost", "series", str(error))])
            return found
        except (
            SnapshotExpired
        ):  # compaction freed files between the pinning and the reading: pin anew
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("the loop returns or raises")


def _answer(sight: Sight, query: PointQuery) -> pl.DataFrame:
    if query.points is None:
        return _every_row(sight, query)
    from mlrun.series.charts import chart

    return chart(sight, query)


class Sight:
    """One consistent sight of the points of a store: the journal, then the rollups, then the rows.

    Each is looked at when it is first wanted. If that is the rows, and then the rollups, the rows are looked at anew.
    """

    def __init__(
        self, store: Store, table: Table = METRICS, journal: JournalSnapshot | None = None
    ) -> None:
        self.table = table
        self.journal = journal or read_journal(store.journal)
        warn_of_damage(self.journal.findings)
        self._series = store.series
        self._rollups: list[SeriesView | None] = [] if table is METRICS else [None]
        self._stored: SeriesView | None = None
        self._first_times: dict[str, int | None] = {}
        self._rolls_up = isinstance(store.series, CanRollUp)

    @property
    def rollups(self) -> SeriesView | None:
        """The rollups; None for a table without, or if they are damaged."""
        if not self._rollups:
            self._stored = None
            self._rollups = [self._series.snapshot(ROLLUPS)]
        return self._rollups[0]

    @property
    def stored(self) -> SeriesView:
        """The rows in the series store."""
        if self._stored is None:
            self._stored = self._series.snapshot(self.table)
        return self._stored

    def leave_rollups(self) -> None:
        """Go on without them."""
        self._rollups = [None]

    def keys(self, query: PointQuery) -> tuple[str, ...] | None:
        """Return the names that the query's keys mean; None for all."""
        wanted = query.keys
        if wanted is None:
            return None
        if not any(_is_pattern(k) for k in wanted):
            return tuple(sorted(set(wanted)))
        known = self.known_keys(query.run_ids)
        found = {k for k in wanted if k in known or not _is_pattern(k)}
        for pattern in set(wanted) - found:
            found |= {k for k in known if fnmatchcase(k, pattern)}
        return tuple(sorted(found))

    def known_keys(self, run_ids: tuple[str, ...]) -> set[str]:
        """Return every key that one of these runs has a point of."""
        view = self.rollups or self.stored
        levels = (WHOLE,) if self.rollups else None
        reader = view.scan(PointFilter(run_ids=run_ids, levels=levels), columns=["key"])
        known = {k for batch in reader for k in batch.column(0).unique().to_pylist()}
        fresh = self.fresh(run_ids, None)
        return known | set(fresh.column("key").unique().to_pylist())

    def fresh(self, run_ids: Sequence[str], keys: Sequence[str] | None) -> pa.Table:
        """Return the journal's rows that the rollups do not know (of a table without rollups: the stored rows).

        So are stored rows that nobody has rolled up yet. Columns: `run_id, key, step, time, value, seq`.
        """
        marks = (self.rollups or self.stored).marks()
        names = [*_SERIES, "step", "time", "value", "seq"]
        fresh = self.journal.points(self.table.name, after=marks, run_ids=run_ids, keys=keys)
        fresh = fresh.select(names)
        if self.rollups is None or not self._rolls_up:
            return fresh
        stored: Any = self.stored
        where = PointFilter(tuple(run_ids), None if keys is None else tuple(keys))
        rest = stored.waiting(marks, where, columns=names, known=self.journal.writers)
        return pa.concat_tables([fresh.cast(rest.schema), rest]) if rest.num_rows else fresh

    def rows(self, where: PointFilter) -> pa.Table:
        """Return all matching rows by run, key, step and order of writing.

        Columns: `run_id, key, step, time, value, seq`, without the first two when the filter names one run and one key.
        """
        assert where.run_ids is not None
        names = [*_SERIES, "step", "time", "value", "seq"]
        if len(where.run_ids) == 1 and where.keys is not None and len(where.keys) == 1:
            names = names[2:]
        stored = self._stored_rows(where, names)
        fresh = self.journal.points(
            self.table.name, after=self.stored.marks(), run_ids=where.run_ids, keys=where.keys
        ).select(names)
        if fresh.num_rows:
            for column, (low, high) in (("step", where.steps), ("time", where.times)):
                fresh = fresh.filter(_between(fresh.column(column), low, high))
            stored = pa.concat_tables([stored, fresh.cast(stored.schema)])
        order = [n for n in (*_SERIES, "step", "time", "seq") if n in names]
        return sort_rows(stored, order)

    def _stored_rows(self, where: PointFilter, names: list[str]) -> pa.Table:
        """Read from the series store; a damaged file costs only the runs that have points in the store."""
        try:
            return self.stored.scan(where, columns=names).read_all()
        except CorruptStore:
            there = self._stored_runs(where.run_ids or ())
            if len(there) == len(where.run_ids or ()):
                raise
            if not there:
                schema = METRICS.schema
                return empty_table(pa.schema([schema.field(n) for n in names]))
            return self.stored.scan(replace(where, run_ids=there), columns=names).read_all()

    def _stored_runs(self, run_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the runs that have stored points, as the rollups say; all of them where these cannot tell."""
        if self.rollups is None or self.rollups.marks() != self.stored.marks():
            return run_ids
        where = PointFilter(run_ids=run_ids, levels=(WHOLE,))
        try:
            found = self.rollups.scan(where, columns=["run_id"]).read_all()
        except CorruptStore:
            return run_ids
        there = set(found.column(0).unique().to_pylist())
        return tuple(r for r in run_ids if r in there)

    def learn_first_times(self, run_ids: Sequence[str]) -> None:
        """Find the times of the first points of several runs at once."""
        new = tuple(run_id for run_id in run_ids if run_id not in self._first_times)
        if not new:
            return
        source, column = (self.rollups, "first_time") if self.rollups else (self.stored, "time")
        where = PointFilter(run_ids=new, levels=(WHOLE,) if self.rollups else None)
        rows = [source.scan(where, columns=["run_id", column]).read_all(), self.fresh(new, None)]
        found = pl.concat(
            pl.DataFrame(part).select(
                pl.col("run_id").cast(pl.String), pl.col(name).cast(pl.Int64).alias("first")
            )
            for part, name in zip(rows, (column, "time"), strict=True)
        )
        least = found.group_by("run_id").agg(pl.col("first").min())
        self._first_times |= {**dict.fromkeys(new), **dict(least.iter_rows())}

    def first_time(self, run_id: str) -> int | None:
        """Return the time (microseconds) of the run's first point, whatever its key."""
        self.learn_first_times([run_id])
        return self._first_times[run_id]


def _is_pattern(key: str) -> bool:
    return any(c in key for c in "*?[")


def _between(column: Any, low: int | None, high: int | None) -> pa.Array:
    values = numpy_of(column)
    keep = np.ones(values.size, np.bool_)
    if low is not None:
        keep &= values >= low
    if high is not None:
        keep &= values <= high
    return arrow_of(keep)


def _every_row(sight: Sight, query: PointQuery) -> pl.DataFrame:
    keys = sight.keys(query)
    if keys is None and query.run_ids and len(query.run_ids) <= _SINGLE:
        keys = tuple(sorted(sight.known_keys(query.run_ids)))
    return read_rows(sight, query, query.run_ids, keys, last=query.last)


def read_rows(
    sight: Sight,
    query: PointQuery,
    run_ids: tuple[str, ...],
    keys: tuple[str, ...] | None,
    *,
    last: bool,
) -> pl.DataFrame:
    """Return the rows of some series between the query's bounds, ordered by run, key and the query's axis."""
    parts = [
        _frame(sight.rows(where), where, last=last)
        for where in _filters(sight, query, run_ids, keys)
    ]
    frame = pl.concat(parts) if parts else _frame(empty_table(METRICS.schema), None, last=False)
    series = [] if len(run_ids) == 1 and keys is not None and len(keys) == 1 else _SERIES
    if query.axis == "time":
        frame = frame.sort(*series, "time", "seq", maintain_order=True)
    if query.axis in {"step", "time"}:
        return frame.select(METRICS.visible[1:])
    with_x = _with_metric if query.axis == "metric" else _with_seconds
    frame = with_x(sight, query, frame)
    if query.low is not None:
        frame = frame.filter(pl.col("x") >= query.low)
    if query.high is not None:
        frame = frame.filter(pl.col("x") <= query.high)
    frame = frame.sort(*series, "x", "step", "time", "seq", maintain_order=True)
    return frame.select(*METRICS.visible[1:], "x")


def _filters(
    sight: Sight, query: PointQuery, run_ids: tuple[str, ...], keys: tuple[str, ...] | None
) -> Iterable[PointFilter]:
    """What to read; relative bounds are other times in every run."""
    if not run_ids or keys == ():
        return
    bounds = (
        (
            None if query.low is None else int(query.low),
            None if query.high is None else int(query.high),
        )
        if query.axis in {"step", "time"}
        else (None, None)
    )
    none = (None, None)
    steps, times = (bounds, none) if query.axis == "step" else (none, bounds)
    relative = query.axis == "relative" and (query.low is not None or query.high is not None)
    single = keys is not None and len(run_ids) * len(keys) <= _SINGLE
    for runs in ([r] for r in run_ids) if relative or single else (list(run_ids),):
        found = times_of(sight, query, runs[0]) if relative else times
        if found is not None:
            for names in ((k,) for k in keys or ()) if single else (keys,):
                yield PointFilter(run_ids=tuple(runs), keys=names, steps=steps, times=found)


def times_of(sight: Sight, query: PointQuery, run_id: str) -> tuple[int | None, int | None] | None:
    """Return relative bounds as times, a microsecond wider than asked; None if the run has no point."""
    first = sight.first_time(run_id)
    if first is None:
        return None
    low = None if query.low is None else first + int(query.low * 1e6) - 1
    high = None if query.high is None else first + int(query.high * 1e6) + 1
    return low, high


def _frame(rows: pa.Table, where: PointFilter | None, *, last: bool) -> pl.DataFrame:
    """Make a frame of sorted rows; `last` drops those that the next one overwrites."""
    frame = pl.DataFrame(rows)
    if "run_id" not in frame.columns:
        assert where is not None
        assert where.run_ids is not None
        assert where.keys is not None
        one = [pl.lit(where.run_ids[0]).alias("run_id"), pl.lit(where.keys[0]).alias("key")]
        frame = frame.with_columns(one)
        of = ["step"]
    else:
        of = [*_SERIES, "step"]
    if last and frame.height:
        again = pl.all_horizontal(pl.col(c) == pl.col(c).shift(-1) for c in of)
        frame = frame.filter(~again.fill_null(value=False))
    return frame.select(*METRICS.visible[1:], "seq")


def _with_metric(sight: Sight, query: PointQuery, frame: pl.DataFrame) -> pl.DataFrame:
    """Add `x`: what the other metric was at the same step."""
    where = PointFilter(run_ids=query.run_ids, keys=(query.axis_key,))
    if not query.run_ids:
        return frame.with_columns(pl.lit(None, pl.Float64).alias("x")).clear()
    axis = _frame(sight.rows(where), where, last=True).filter(pl.col("value").is_not_nan())
    axis = axis.select("run_id", "step", pl.col("value").alias("x"))
    if len(query.run_ids) == 1:
        return frame.join(axis.drop("run_id"), on="step", how="inner", maintain_order="left")
    return frame.join(axis, on=["run_id", "step"], how="inner", maintain_order="left")


def _with_seconds(sight: Sight, query: PointQuery, frame: pl.DataFrame) -> pl.DataFrame:
    """Add `x`: seconds since the run's first point."""
    runs = list(query.run_ids)
    sight.learn_first_times(runs)
    first = pl.DataFrame(
        {"run_id": runs, "first": [sight.first_time(r) for r in runs]},
        schema={"run_id": pl.String, "first": pl.Int64},
    )
    joined = frame.join(first, on="run_id", how="left", maintain_order="left")
    since = joined.select(pl.col("time").cast(pl.Int64) - pl.col("first")).to_series()
    # Polars would multiply by a millionth: 25 ms would be less than 0.025
    return joined.with_columns(pl.Series("x", since.to_numpy() / 1e6)).drop("first")
