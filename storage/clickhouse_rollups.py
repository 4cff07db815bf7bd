"""Rollups of points that nobody has rolled up: those that a gateway appends in small commits as they come.

An absorber appends points in large parts and their rollups with them. Rollups of commits of a few rows would tell
nothing; so points wait here until many have gathered, and are rolled up as one part. The marks of the rollups say how
far that went, writer by writer, in the same numbers as those of the points: whoever comes second finds it done.
Until then a chart reads the points that wait, which are few beside a long series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from mlrun.arrowmemory import empty_table
from mlrun.series.rollups import build
from mlrun.tables import METRICS

from .clickhouse_scan import Clauses, read
from .clickhouse_schema import COMMIT, MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mlrun.contracts import PointFilter

    from .clickhouse_log import State, TableLog

__all__ = ["behind", "roll_up", "waiting"]

_PART_ROWS = 2_000_000  # points rolled up at once, about: bounds the memory


def behind(state: State, marks: Mapping[str, int], known: Collection[str] = ()) -> dict[str, int]:
    """Return the writers whose points are not all rolled up, with the marks of the rollups; `known` ones left out."""
    late = {w for w, number in state.marks.items() if number > marks.get(w, 0)} - set(known)
    return {w: marks.get(w, 0) for w in sorted(late)}


def waiting(
    log: TableLog,
    state: State,
    late: Mapping[str, int],
    where: PointFilter,
    columns: Sequence[str],
) -> pa.Table:
    """Return the points of late writers that no rollup tells of."""
    if not late:
        return empty_table(pa.schema([log.table.schema.field(c) for c in columns]))
    clauses = Clauses()
    clauses.add_sight(log, state, where.run_ids)
    clauses.add_filter(where, log.table)
    _add_late(clauses, log, late, state.commit)
    return read(log, state, clauses, columns).read_all()


def roll_up(log: TableLog, rollups: TableLog, append: Callable[..., bool], *, least: int) -> int:
    """Roll up what waits, if it is at least so many points; returns how many were.

    Args:
        log: of the points.
        rollups: of the rollups.
        append: appends to the rollups' table.
        least: fewer points wait on.
    """
    done = 0
    while late := behind(state := log.state(), rollups.state().marks):
        upto, rows = _part(log, late, state.commit, least)
        if rows < least:
            break
        clauses = Clauses()
        clauses.add_sight(log, state)
        _add_late(clauses, log, late, upto)
        points = read(log, state, clauses, METRICS.names).read_all()
        if append(build(points), marks=_marks(log, late, upto)):  # else an absorber was first
            done += points.num_rows
    return done


def _lines(log: TableLog) -> str:
    """Return which lines of the log are marks of points that are not rolled up."""
    return (
        f"FROM {log.name} WHERE mlrun_kind = {MARK} AND mlrun_commit <= {{late_upto:UInt64}} "
        "AND mlrun_name IN {late:Array(String)} "
        "AND mlrun_number > transform(mlrun_name, {late:Array(String)}, {late_done:Array(Int64)}, toInt64(0))"
    )


def _params(late: Mapping[str, int], upto: int) -> dict[str, object]:
    return {"late": list(late), "late_done": list(late.values()), "late_upto": upto}


def _add_late(clauses: Clauses, log: TableLog, late: Mapping[str, int], upto: int) -> None:
    # an import brings points with a writer's name but without its marks: they come with rollups of their own
    clauses.add(
        f"(writer, mlrun_commit) IN (SELECT mlrun_name, mlrun_commit {_lines(log)})",
        **_params(late, upto),
    )


def _part(log: TableLog, late: Mapping[str, int], newest: int, least: int) -> tuple[int, int]:
    """Return the commit up to which about a part's rows wait, and how many rows these commits have."""
    lines = log.client.rows(
        f"SELECT mlrun_commit AS commit, max(mlrun_number) AS number FROM {log.name} "
        f"WHERE mlrun_kind = {COMMIT} AND mlrun_commit IN (SELECT mlrun_commit {_lines(log)}) "
        "GROUP BY commit ORDER BY commit",
        _params(late, newest),
    )
    upto = total = 0
    for commit, number in lines:
        upto, total = commit, total + number
        if total >= max(_PART_ROWS, least):
            break
    return upto, total


def _marks(log: TableLog, late: Mapping[str, int], upto: int) -> dict[str, int]:
    """Return how far each late writer's points go in commits up to one."""
    return dict(
        log.client.rows(
            f"SELECT mlrun_name AS name, max(mlrun_number) AS number {_lines(log)} GROUP BY name",
            _params(late, upto),
        )
    )
