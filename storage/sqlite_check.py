"""Looking for damage, and saving what can be read.

SQLite has no checksums: a flipped bit in a page's structure is found by `integrity_check`, one inside a value is not.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.contracts import Finding, Mark
from mlrun.errors import CorruptStore, StoreError
from mlrun.tables import LINEAGE, PARAMS, RUNS

from .sqlite_connect import connect, transaction
from .sqlite_library import lease
from .sqlite_schema import KEYED, LABELS, RECORDS, create, name, open_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .sqlite_connect import Connection

__all__ = ["check"]

_RUN_ID, _KEY = PARAMS.key
_BY_RUN = (*KEYED, RECORDS["tags"], LABELS)


def check(
    path: str, journal_mode: str, release: Callable[[], None], *, repair: bool
) -> list[Finding]:
    """Report damage; with `repair`, replace the file by one that holds what can be read.

    Args:
        path: of the file.
        journal_mode: of a new file.
        release: closes the connections that this process keeps. No other process may use the store during a repair.
        repair: mend what can be mended; the damaged file stays beside the new one.
    """
    file = os.path.basename(path)
    if not os.path.exists(path):
        return [Finding("note", file, "is not made yet")]
    with lease() as library:
        try:
            connection = connect(path, library, mapped=False)
            open_version(connection, path)
        except CorruptStore as error:
            return [Finding("lost", file, f"cannot be read as a database: {error}")]
        try:
            damage = [Finding("repairable", file, what) for what in _damage(connection)]
            if not damage:
                return _strays(connection)
            if not repair:
                return damage
            release()
            fresh = f"{path}.salvage"
            lost = _salvage(connection, fresh, library, journal_mode)
        finally:
            connection.close()
        backup = _replace(path, fresh)
    done = Finding(
        "repaired", file, f"rows that could be read are in a new file; the damaged one is {backup}"
    )
    return [done, *(Finding("lost", file, what) for what in lost)]


def _damage(connection: Connection) -> list[str]:
    try:
        rows = connection.rows("pragma integrity_check(20)")
    except StoreError as error:
        return [str(error)]
    return [str(r[0]) for r in rows if r[0] != "ok"]


def _strays(connection: Connection) -> list[Finding]:
    """Report rows that belong to nothing."""
    found = []
    for table in _BY_RUN:
        where = "not exists (select 1 from runs r where r.rid = t.rid and r.present)"
        [(count,)] = connection.rows(f"select count(*) from {table.name} t where {where}")
        if count:
            found.append(
                Finding("note", table.name, f"{count} rows belong to runs that are not there")
            )
    where = f"not exists (select 1 from runs r where r.{_RUN_ID} = t.{_RUN_ID} and r.present)"
    [(count,)] = connection.rows(f"select count(*) from {LINEAGE.name} t where {where}")
    if count:
        found.append(
            Finding("note", LINEAGE.name, f"{count} rows belong to runs that are not there")
        )
    negative = " or ".join(f"{name(f)} < 0" for f in Mark._fields)
    found += [
        Finding("lost", "marks", f"the mark of writer {writer} is negative")
        for (writer,) in connection.rows(f"select writer from marks where {negative}")
    ]
    return found


def _salvage(connection: Connection, target: str, library: str, journal_mode: str) -> list[str]:
    """Copy every row that can be read to a new file; return what could not."""
    for old in (target, f"{target}-wal", f"{target}-shm"):
        if os.path.exists(old):
            os.remove(old)
    fresh = connect(target, library, mapped=False, create=True)
    lost = []
    try:
        create(fresh, target, journal_mode)
        with transaction(fresh):
            top = _top(connection)
            for table, number in _physical():
                columns = _columns(fresh, table)
                failed = _copy(connection, fresh, table, number, columns, top)
                if failed:
                    lost.append(f"{table}: {failed} of its numbers could not be read")
            _fill_gaps(connection, fresh)
        fresh.rows("pragma wal_checkpoint(truncate)")
    finally:
        fresh.close()
    return lost


def _physical() -> Iterator[tuple[str, str]]:
    """Return every table in the file, with the integer by which it is read piece by piece."""
    yield "keys", "kid"
    yield RUNS.name, "rid"
    yield from ((t.name, "rid") for t in _BY_RUN)
    known = {RUNS.name, *(t.name for t in _BY_RUN)}
    yield from ((t, "rowid") for t in RECORDS if t not in known)
    yield "marks", ""


def _columns(connection: Connection, table: str) -> list[str]:
    return [name(c) for (c,) in connection.rows("select name from pragma_table_info(?)", (table,))]


def _top(connection: Connection) -> int:
    """Return a number above all that can be found; a table whose last page is damaged is bounded by the others."""
    top = 4096
    counts = [f"select max({number or 0}) from {table}" for table, number in _physical()]
    for count in [*counts, "select max(rid) from runs indexed by sqlite_autoindex_runs_1"]:
        with suppress(StoreError):
            [(most,)] = connection.rows(count)
            top = max(top, most or 0)
    return top + 1


def _copy(
    connection: Connection, fresh: Connection, table: str, number: str, columns: list[str], top: int
) -> int:
    """Copy a table in ranges that are halved where they cannot be read; return how many numbers failed."""
    chosen = ", ".join(columns)
    holes = ", ".join("?" * len(columns))
    insert = f"insert or ignore into {table} ({chosen}) values ({holes})"
    ranges, failed = [(0, top)], 0
    while ranges:
        low, high = ranges.pop()
        where = f"where {number} >= {low} and {number} < {high}" if number else ""
        try:
            rows = connection.rows(f"select {chosen} from {table} not indexed {where}")
        except StoreError:
            if not number or high - low == 1:
                failed += 1
            else:
                middle = (low + high) // 2
                ranges += [(middle, high), (low, middle)]
            continue
        if rows:
            fresh.executemany(insert, rows)
    return failed


def _fill_gaps(connection: Connection, fresh: Connection) -> None:
    """Give runs and keys whose row is lost a name again, so that their values can be seen."""
    try:
        ids = connection.rows(f"select rid, {_RUN_ID} from runs indexed by sqlite_autoindex_runs_1")
    except StoreError:  # the index is damaged too: such runs stay nameless
        ids = []
    fixed = {c.name: "" for c in RUNS.columns if not c.nullable and c.name != _RUN_ID}
    fixed |= {"error": "this row was damaged; the values of the run are kept"}
    columns = ", ".join(name(c) for c in fixed)
    holes = ", ".join("?" * len(fixed))
    fresh.executemany(
        f"insert or ignore into runs (rid, {_RUN_ID}, present, {columns}) values (?, ?, 1, {holes})",
        [(*pair, *fixed.values()) for pair in ids],
    )
    for table, number, column in (("runs", "rid", _RUN_ID), ("keys", "kid", _KEY)):
        used = {
            n
            for t in (*KEYED, LABELS)
            for (n,) in fresh.rows(
                f"select distinct {number} from {t.name} "
                f"where {number} not in (select {number} from {table})"
            )
        }
        rows: list[tuple[Any, ...]] = [(n, f"lost-{n}") for n in sorted(used)]
        fresh.executemany(f"insert or ignore into {table} ({number}, {column}) values (?, ?)", rows)


def _replace(path: str, fresh: str) -> str:
    """Put the new file in the place of the damaged one; return the name under which that is kept."""
    number = 1
    while os.path.exists(f"{path}.damaged-{number}"):
        number += 1
    backup = f"{path}.damaged-{number}"
    for tail in ("-wal", "-shm", ""):
        if os.path.exists(path + tail):
            os.rename(path + tail, backup + tail)
    os.rename(fresh, path)
    return os.path.basename(backup)
