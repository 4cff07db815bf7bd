"""Upkeep of a table in ClickHouse: deleting runs, freeing their rows, keeping its log short.

ClickHouse merges parts by itself. Deleted rows stay for snapshots that were taken before, until `compact` frees them;
from then on such a snapshot is refused. A kill between two steps leaves rows that are deleted and not yet freed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.arrowmemory import empty_table
from mlrun.contracts import PointFilter

from .clickhouse_log import State
from .clickhouse_rollups import behind
from .clickhouse_scan import SAFE_SECONDS, Clauses, count, cut_text
from .clickhouse_schema import COMMIT, CUT, DATA, FREED, GONE, MARK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .clickhouse_log import Line, TableLog

__all__ = ["compact", "delete_points", "delete_runs"]

_LONG_LOG = 2_000  # lines that are worth a mutation to be rid of


def delete_runs(log: TableLog, run_ids: Sequence[str]) -> int:
    """Hide all rows of these runs from now on; returns how many there are."""
    where = PointFilter(run_ids=tuple(dict.fromkeys(run_ids)))
    return _hide(log, where, GONE, where.run_ids or ())


def delete_points(log: TableLog, where: PointFilter) -> int:
    """Hide all rows that match from now on; returns how many there are."""
    return _hide(log, where, CUT, () if () in (where.run_ids, where.keys) else (cut_text(where),))


def _hide(log: TableLog, where: PointFilter, kind: int, names: Sequence[str]) -> int:
    """Add a log line of this kind for each name, if there are rows that match."""
    found = 0

    def make(state: State) -> tuple[Any, list[Line]] | None:
        nonlocal found
        clauses = Clauses()
        clauses.add_sight(log, state, where.run_ids)
        clauses.add_filter(where, log.table)
        found = count(log, state, clauses)
        when = _now(log)
        lines = [(kind, word, when) for word in names]
        return (empty_table(log.table.schema), lines) if found else None

    if names and log.state().made:
        log.commit(make)
    return found


def compact(
    log: TableLog, *, keep_hours: float, rolled: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Free what was deleted long enough ago, shorten the log, merge parts; see `ClickHouseSeries.compact`.

    Args:
        log: of the table.
        keep_hours: how long deleted rows stay for those who look at an older snapshot.
        rolled: of points, the marks of their rollups: lines about points beyond them are needed.
    """
    counts = {"files_merged": 0, "files_written": 0, "files_freed": 0}
    if not log.state().made:
        return counts
    before = _parts(log)
    keep = max(keep_hours * 3600, SAFE_SECONDS)
    _free(log, _now(log) - int(keep * 1e6))
    _shorten(log, rolled)
    log.client.command(f"OPTIMIZE TABLE {log.name}")
    after = _parts(log)
    counts["files_merged"], counts["files_written"] = len(before - after), len(after - before)
    return counts


def _now(log: TableLog) -> int:
    """Return the server's clock, in microseconds: the clocks of those who delete and free may differ."""
    [(now,)] = log.client.rows("SELECT toUnixTimestamp64Micro(now64(6)) AS now")
    return int(now)


def _parts(log: TableLog) -> set[str]:
    found = log.client.rows(
        "SELECT name FROM system.parts WHERE database = {database:String} AND table = {table:String} AND active",
        {"database": log.client.database, "table": log.table.name},
    )
    return {part for (part,) in found}


def _free(log: TableLog, before: int) -> None:
    """Free rows that were deleted before an instant, in microseconds."""
    lines = log.client.rows(
        f"SELECT mlrun_kind AS kind, mlrun_name AS name, mlrun_commit AS commit, mlrun_number AS at FROM {log.name} "
        f"WHERE mlrun_kind IN ({GONE}, {CUT}) ORDER BY commit"
    )
    recent = [commit for *_, commit, at in lines if at > before]
    due = [line for line in lines if not recent or line[2] < min(recent)]
    if not due:
        return
    upto = due[-1][2]
    log.commit(lambda _: (empty_table(log.table.schema), [(FREED, "", upto)]))
    # ascending: the last deletion counts
    gone, cuts = ({n: c for k, n, c, _ in due if k == kind} for kind in (GONE, CUT))
    stays = Clauses()
    stays.add_gone(gone)
    stays.add_cuts(cuts, log.table)
    log.client.command(
        f"ALTER TABLE {log.name} DELETE WHERE mlrun_kind = {DATA} AND NOT ({stays.sql()})",
        stays.params,
        mutations_sync=2,
    )
    # only when no row of theirs is left anywhere: else those would come back
    for kind in (GONE, CUT):
        _drop_lines(log, kind, upto)


def _shorten(log: TableLog, rolled: Mapping[str, int] | None) -> None:
    """Say all marks again in one commit, and drop the lines that said them before and that nobody needs."""
    [(lines,)] = log.client.rows(
        f"SELECT toInt64(count()) AS number FROM {log.name} WHERE mlrun_kind IN ({COMMIT}, {MARK})"
    )
    if lines < _LONG_LOG + 2 * len(log.state().marks):
        return
    before = State()

    def make(state: State) -> tuple[Any, list[Line]]:
        nonlocal before
        before = state
        return empty_table(log.table.schema), [(MARK, w, n) for w, n in state.marks.items()]

    log.commit(make)
    # what came up to this very commit: a writer may have become late just now
    late = {} if rolled is None else behind(before, rolled)
    needed = _needed(log, late)
    _drop_lines(log, COMMIT, before.commit, needed)
    _drop_lines(log, MARK, before.commit, needed)


def _needed(log: TableLog, late: Mapping[str, int]) -> list[int]:
    """Return the commits with points that are not rolled up."""
    if not late:
        return []
    found = log.client.rows(
        f"SELECT DISTINCT mlrun_commit AS commit FROM {log.name} WHERE mlrun_kind = {MARK} "
        "AND mlrun_name IN {late:Array(String)} "
        "AND mlrun_number > transform(mlrun_name, {late:Array(String)}, {done:Array(Int64)}, toInt64(0))",
        {"late": list(late), "done": list(late.values())},
    )
    return [commit for (commit,) in found]


def _drop_lines(log: TableLog, kind: int, upto: int, but: Sequence[int] = ()) -> None:
    rest = "AND mlrun_commit NOT IN {but:Array(UInt64)}" if but else ""
    params: dict[str, Any] = {"upto": upto} | ({"but": list(but)} if but else {})
    log.client.command(
        f"DELETE FROM {log.name} WHERE mlrun_kind = {kind} AND mlrun_commit <= {{upto:UInt64}} {rest}",
        params,
        lightweight_deletes_sync=2,
    )
