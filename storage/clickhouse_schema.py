"""How the series tables lie in ClickHouse, and how a database comes to its version.

A row of a table is either data or a line of the table's log, told apart by `mlrun_kind`. What an append commits, and
that it did, are rows of one insert, which is one block and becomes one part: it is there whole or not at all.

| kind | what it says | mlrun_name | mlrun_number |
|---|---|---|---|
| DATA | a row | | |
| COMMIT | this commit is there | a random word: whose | how many data rows it has |
| MARK | a journal writer's high-water mark | the writer | the mark |
| GONE | rows of a run in earlier commits are deleted | the run | when, in microseconds |
| FREED | rows deleted up to a commit are being freed | | the commit |
| CUT | rows in earlier commits that match a filter are deleted | the filter, as JSON | when, in microseconds |

`mlrun_commit` numbers the commits of a table. The number is the insert's deduplication token too, so that of two that
claim the same number one is stored: the table keeps the last `WINDOW` tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.errors import StoreVersionError
from mlrun.tables import TABLES

from .clickhouse_client import Absent, name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.tables import Column, Table

    from .clickhouse_client import Client

__all__ = [
    "COMMIT",
    "CUT",
    "DATA",
    "FREED",
    "GONE",
    "HIDDEN",
    "MARK",
    "MIGRATIONS",
    "VERSION",
    "create",
    "known_tables",
    "migrate",
    "open_version",
    "stored_version",
    "struct",
]

VERSION = 1
WINDOW = 10_000
DATA, COMMIT, MARK, GONE, FREED, CUT = range(6)
HIDDEN = {
    "mlrun_kind": "UInt8",
    "mlrun_commit": "UInt64",
    "mlrun_name": "String",
    "mlrun_number": "Int64",
}
_VERSIONS = "mlrun_version"
_TYPES = {
    "string": "String",
    "json": "String",
    "int64": "Int64",
    "float64": "Float64",
    "bool": "Bool",
    "timestamp": "DateTime64(6, 'UTC')",
}
# few distinct values: stored and compared as small numbers
_REPEATED = frozenset({"project", "run_id", "key", "stream", "writer"})
_CODECS = {"int64": "Delta, LZ4", "timestamp": "Delta, LZ4", "json": "ZSTD(1)"}
_LONG = frozenset({"line"})  # text that is read seldom and by the screen
# all commits are in one partition, for which the server keeps in mind which commits each part has: to read what is new
# it opens the newest parts alone
_ONE_PARTITION = 1 << 48
_GRANULE = {"metrics_rollups": 1024}  # wide rows, of which a chart wants few


def create(client: Client, *tables: Table) -> None:
    """Make the database and tables if they are not there; idempotent and safe in a race.

    Raises:
        StoreVersionError: another version of mlrun made them; older ones wait for `migrate`.
        StoreError: they cannot be made.
    """
    versions = client.table(_VERSIONS)
    found = stored_version(client)
    if found is None:
        client.command(f"CREATE DATABASE IF NOT EXISTS {name(client.database)}")
        client.command(
            f"CREATE TABLE IF NOT EXISTS {versions} (number UInt32, since DateTime DEFAULT now()) "
            "ENGINE = MergeTree ORDER BY number"
        )
        found = stored_version(client)
    if not found:  # whoever makes it at the same time writes the same number
        client.command(f"INSERT INTO {versions} (number) VALUES ({VERSION})", async_insert=0)
        found = VERSION
    _refuse(client, found)
    for table in tables:
        client.command(_definition(client, table))
        _retain(client, table)


def open_version(client: Client) -> None:
    """Check that this version reads the database; one that is not there is read as empty.

    Raises:
        StoreVersionError: it is of another version.
    """
    _refuse(client, stored_version(client) or VERSION)


def migrate(client: Client) -> None:
    """Bring an older database to this version, step by step; a step that was broken off is done again.

    Raises:
        StoreVersionError: a newer mlrun made it.
    """
    found = stored_version(client) or VERSION
    for number in range(found, VERSION):
        MIGRATIONS[number](client)
        client.command(
            f"INSERT INTO {client.table(_VERSIONS)} (number) VALUES ({number + 1})", async_insert=0
        )
    _refuse(client, max(found, VERSION))


def struct(table: Table) -> dict[str, str]:
    """Return all stored columns, hidden ones first, and the types in which they are sent."""
    return HIDDEN | {c.name: _type(c, sent=True) for c in table.columns}


def stored_version(client: Client) -> int | None:
    """Return the version of a database, 0 where none is written down yet, None where nothing of ours is there."""
    try:
        [(number,)] = client.rows(
            f"SELECT toInt64(max(number)) AS number FROM {client.table(_VERSIONS)}"
        )
    except Absent:
        return None
    return int(number)


def _refuse(client: Client, found: int) -> None:
    if found > VERSION:
        raise StoreVersionError(
            f"{client.url} has version {found}, this mlrun reads up to {VERSION}: pip install -U mlrun-arrow"
        )
    if found < VERSION:
        raise StoreVersionError(
            f"{client.url} has version {found}, not {VERSION}: `mlrun server migrate` brings it there"
        )


def _type(column: Column, *, sent: bool = False) -> str:
    kind = f"Nullable({_TYPES[column.type]})" if column.nullable else _TYPES[column.type]
    return f"LowCardinality({kind})" if column.name in _REPEATED and not sent else kind


def _declare(column: Column) -> str:
    codec = "ZSTD(3)" if column.name in _LONG else _CODECS.get(column.type, "")
    return f"{name(column.name)} {_type(column)}" + (f" CODEC({codec})" if codec else "")


def _definition(client: Client, table: Table) -> str:
    columns = [f"{name(c)} {kind}" for c, kind in HIDDEN.items()]
    columns += [_declare(c) for c in table.columns]
    order = ", ".join(name(c) for c in ("mlrun_kind", *table.sort))
    sync = int(client.is_on("fsync", default=True))
    settings = {
        "non_replicated_deduplication_window": WINDOW,
        "replicated_deduplication_window": WINDOW,
        "replicated_deduplication_window_seconds": 7 * 86_400,
        "fsync_after_insert": sync,
        "fsync_part_directory": sync,
        "index_granularity": _GRANULE.get(table.name, 8192),
    }
    told = ", ".join(f"{k} = {v}" for k, v in settings.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {client.table(table.name)} ({', '.join(columns)}) "
        f"ENGINE = MergeTree PARTITION BY intDiv(mlrun_commit, {_ONE_PARTITION}) ORDER BY ({order}) SETTINGS {told}"
    )


def _retain(client: Client, table: Table) -> None:
    """Let rows go after so many days, if the URL says so; the log's lines stay."""
    days = client.number("retention_days")
    column = next((c for c in ("time", "last_time") if c in table.names), None)
    if days > 0 and column:
        client.command(
            f"ALTER TABLE {client.table(table.name)} MODIFY TTL "
            f"toDateTime({name(column)}) + INTERVAL {days} DAY DELETE WHERE mlrun_kind = {DATA}"
        )


def known_tables() -> dict[str, Table]:
    """Return the series tables by name."""
    return {t.name: t for t in TABLES.values() if t.kind == "series"}


# from version -> what brings a database to the next one; each may be done again, wholly or from its middle
MIGRATIONS: Mapping[int, Callable[[Client], None]] = {}
