"""How the record tables lie in SQLite, and how a file comes to its version.

The logical tables are those of `mlrun.tables`; the physical ones differ where a million runs ask for it. A run has an
integer `rid`, a key of params, results and metrics an integer `kid`; the three long tables are clustered by (rid, kid),
so that all values of a run lie together, and indexed by (kid, value, rid), so that a filter or an order reads one
stretch of one index. A row of `runs` may be a mere holder of a rid (`present` = 0), for values that came before their
run.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from mlrun.contracts import Mark
from mlrun.errors import StoreError, StoreVersionError
from mlrun.ids import now_us
from mlrun.tables import (
    ALIASES,
    API_KEYS,
    ARTIFACTS,
    AUDIT,
    EXPIRATIONS,
    FUNCTION_TAGS,
    FUNCTIONS,
    LEASES,
    LINEAGE,
    PARAMS,
    POLICIES,
    PROJECT_SECRETS,
    PROJECTS,
    RESULTS,
    ROLES,
    RUNS,
    SCHEDULES,
    SUMMARIES,
    TAGS,
    USERS,
    VIEWS,
)

from .recordplan import LABELS, RECORDS
from .recordshape import BY_RID, KEY, KEYED, RUN_ID, VISIBLE, name, source
from .sqlite_connect import open_uri, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.tables import Column, Table

    from .sqlite_connect import Connection

__all__ = [
    "KEYED",
    "LABELS",
    "MIGRATIONS",
    "RECORDS",
    "VERSION",
    "VISIBLE",
    "create",
    "indexes",
    "name",
    "open_empty",
    "open_version",
    "source",
]

VERSION = 4
_APPLICATION_ID = 0x6D6C7231

_SQL_TYPES = {"string": "text", "json": "text", "float64": "real"}


def _declare(column: Column, *, required: bool) -> str:
    kind = _SQL_TYPES.get(column.type, "integer")
    return f"{name(column.name)} {kind}{' not null' if required else ''}"


def _tables() -> list[str]:
    """Return the statements that make the tables."""
    made = [f"create table keys (kid integer primary key, {name(KEY)} text not null unique)"]
    columns = [_declare(c, required=c.name == RUN_ID) for c in RUNS.columns]
    made.append(
        f"create table {RUNS.name} (rid integer primary key, {columns[0]} unique, "
        f"present integer not null default 0, {', '.join(columns[1:])})"
    )
    for table in (*BY_RID, LABELS):
        short = {RUN_ID: "rid integer not null"} | (
            {} if table is TAGS else {KEY: "kid integer not null"}
        )
        columns = [short.get(c.name) or _declare(c, required=not c.nullable) for c in table.columns]
        key = ", ".join(_short(c, table) for c in table.key)
        made.append(
            f"create table {table.name} ({', '.join(columns)}, primary key ({key})) without rowid"
        )
    for table in RECORDS.values():
        if table is not RUNS and table not in BY_RID:
            made += _plain(table)
    numbers = ", ".join(f"{name(f)} integer not null" for f in Mark._fields)
    made.append(
        f"create table marks (writer text primary key, {numbers}, moved_at integer not null default 0) without rowid"
    )
    return made


def _plain(table: Table) -> list[str]:
    """Return the statements that make a table as it is."""
    columns = [_declare(c, required=not c.nullable) for c in table.columns]
    return [
        f"create table {table.name} ({', '.join(columns)})",
        f"create unique index {table.name}_key on {table.name} ({conflict(table)})",
    ]


def _short(column: str, table: Table) -> str:
    if column == RUN_ID:
        return "rid"
    return "kid" if column == KEY and table is not TAGS else name(column)


def conflict(table: Table) -> str:
    """Return the expressions that are unique in a table: its key, where a missing part is like any other value."""
    if table is RUNS:
        return name(RUN_ID)
    if table in (*BY_RID, LABELS):
        return ", ".join(_short(c, table) for c in table.key)
    return ", ".join(
        f"ifnull({name(c)}, '')" if table.column(c).nullable else name(c) for c in table.key
    )


def indexes(table: Table) -> dict[str, str]:
    """Return the indexes of a table beyond its key: name -> what stands behind `on`."""
    made: dict[str, str] = {}
    if table in (PARAMS, RESULTS, LABELS):
        for value in (c.name for c in table.columns if c.hidden):
            made[f"{table.name}_{value}"] = (
                f"{table.name} (kid, {value}, rid) where {value} is not null"
            )
    elif table is SUMMARIES:
        made["summaries_last"] = "summaries (kid, last, rid) where last is not null"
    elif table is TAGS:
        made["tags_tag"] = "tags (tag, rid)"
    elif table is RUNS:
        made["runs_newest"] = f"runs (started_at) where {VISIBLE}"
        made["runs_project"] = f"runs (project, started_at) where {VISIBLE}"
        made["runs_started"] = "runs (started_at)"
        for column in ("state", "name", "parent", "group"):
            made[f"runs_{column}"] = f"runs ({name(column)}) where {name(column)} is not null"
    elif table is ARTIFACTS:
        made["artifacts_content"] = "artifacts (project, key, sha256)"
    elif table is LINEAGE:
        made["lineage_version"] = "lineage (project, key, version)"
    elif table is ALIASES:
        made["aliases_version"] = "aliases (project, key, version)"
    elif table is AUDIT:
        made["audit_time"] = "audit (time)"
    return made


def open_version(connection: Connection, path: str) -> None:
    """Check that this version reads the file.

    Raises:
        StoreError: it is not made yet. StoreVersionError: it is of another version.
    """
    [(version,)] = connection.rows("pragma user_version")
    if version == VERSION:
        return
    if version > VERSION:
        raise StoreVersionError(
            f"{path} has version {version}, this mlrun reads up to {VERSION}: pip install -U mlrun-arrow"
        )
    if version:
        raise StoreVersionError(
            f"{path} has version {version}, not {VERSION}: run `mlrun doctor --repair`"
        )
    raise StoreError(f"{path} is not made yet: call create()")


def create(connection: Connection, path: str, journal_mode: str) -> None:
    """Make the tables, or bring an older file to this version; safe in a race of many processes."""
    [(version,)] = connection.rows("pragma user_version")
    if version == VERSION:
        return
    if version == 0:
        _refuse_foreign(connection, path)
        connection.rows("pragma page_size=8192")
        _set_journal_mode(connection, journal_mode)
        with transaction(connection):
            [(version,)] = connection.rows("pragma user_version")
            if version == 0:
                _make(connection)
                return
    if version < VERSION:
        _back_up(connection, path, version)
        with transaction(connection):
            [(version,)] = connection.rows("pragma user_version")
            for number in range(version, VERSION):
                MIGRATIONS[number](connection)
            connection.execute(f"pragma user_version={VERSION}")
    open_version(connection, path)


def open_empty(path: str, library: str) -> Connection:
    """Return a connection to empty tables in memory: what a reader sees of a file that is not made yet."""
    connection = open_uri(path, "file::memory:", library)
    connection.lasting = False
    _make(connection)
    return connection


def _make(connection: Connection) -> None:
    for statement in _tables():
        connection.execute(statement)
    for table in (*RECORDS.values(), LABELS):
        make_indexes(connection, table)
    connection.execute(f"pragma application_id={_APPLICATION_ID}")
    connection.execute(f"pragma user_version={VERSION}")


def make_indexes(connection: Connection, table: Table) -> None:
    """Make the indexes of a table that are not there."""
    for index, where in indexes(table).items():
        connection.execute(f"create index if not exists {index} on {where}")


def _from_1(connection: Connection) -> None:
    """Add functions, their tags and schedules, and the document of a project."""
    connection.execute(f"alter table {PROJECTS.name} add column spec text")
    for table in (FUNCTIONS, FUNCTION_TAGS, SCHEDULES):
        for statement in _plain(table):
            connection.execute(statement)


def _from_2(connection: Connection) -> None:
    """Add the keys, users and roles of a gateway, and its audit log."""
    for table in (API_KEYS, USERS, ROLES, AUDIT):
        for statement in _plain(table):
            connection.execute(statement)
    make_indexes(connection, AUDIT)


def _from_3(connection: Connection) -> None:
    """Add saved views, policies, secrets and leases, and when a mark was moved: for those that are there, just now."""
    for table in (VIEWS, POLICIES, EXPIRATIONS, PROJECT_SECRETS, LEASES):
        for statement in _plain(table):
            connection.execute(statement)
    connection.execute("alter table marks add column moved_at integer not null default 0")
    connection.execute("update marks set moved_at = ?", (now_us(),))


# from version -> what brings a file to the next one; run in one transaction after a backup
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {1: _from_1, 2: _from_2, 3: _from_3}


def _refuse_foreign(connection: Connection, path: str) -> None:
    # in this order: another process may make our tables, and the id with them, between the two questions
    [(tables,)] = connection.rows("select count(*) from sqlite_master")
    [(application,)] = connection.rows("pragma application_id")
    if tables and application != _APPLICATION_ID:
        raise StoreError(f"{path} is an SQLite database of something else")


def _set_journal_mode(connection: Connection, mode: str) -> None:
    """Change the journal mode; SQLite does not wait for others here, so we do."""
    deadline = time.monotonic() + 30
    while True:
        try:
            [(now,)] = connection.rows(f"pragma journal_mode={mode}")
        except StoreError:
            if time.monotonic() > deadline:
                raise
        else:
            if now == mode:
                return
            if time.monotonic() > deadline:
                raise StoreError(f"SQLite keeps journal_mode={now}, not {mode}")
        time.sleep(0.005)


def _back_up(connection: Connection, path: str, version: int) -> None:
    """Copy the file as it is, once; a copy that an earlier attempt left is as good."""
    target = f"{path}.v{version}.bak"
    if os.path.exists(target):
        return
    partial = f"{target}.{os.getpid()}.tmp"
    connection.execute("vacuum into ?", (partial,))
    os.replace(partial, target)
