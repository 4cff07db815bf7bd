"""Looking for damage in PostgreSQL: what the server knows of its pages, and what we know of our rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import Finding, Mark
from mlrun.tables import LINEAGE, RUNS

from .postgres_connect import SCHEMA
from .postgres_schema import KEYED, indexes, lock, name
from .recordplan import LABELS, RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .postgres_connect import Connection

__all__ = ["check"]

_RUN_ID = RUNS.key[0]
_BY_RUN = (*KEYED, RECORDS["tags"], LABELS)


def check(connection: Connection, *, repair: bool) -> list[Finding]:
    """Report damage, in a transaction that may write; with `repair`, make lost indexes again."""
    return [
        *_damaged_pages(connection),
        *_lost_indexes(connection, repair=repair),
        *_strays(connection),
    ]


def _damaged_pages(connection: Connection) -> Iterator[Finding]:
    """Report pages whose checksum was wrong when they were read; the server counts them."""
    [(failures,)] = connection.rows(
        "select coalesce(checksum_failures, 0) from pg_stat_database where datname = current_database()"
    )
    if failures:
        what = f"{failures} pages did not have their checksum when they were read; restore a backup"
        yield Finding("lost", "postgresql", what)


def _lost_indexes(connection: Connection, *, repair: bool) -> Iterator[Finding]:
    """Report indexes that are not there or that an interrupted build left unfinished."""
    sound = {
        n
        for (n,) in connection.rows(
            "select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid "
            "where c.relnamespace = to_regnamespace($1::text) and i.indisvalid",
            [SCHEMA],
        )
    }
    for table in (*RECORDS.values(), LABELS):
        for index, where in indexes(table).items():
            if index in sound:
                continue
            if repair:
                lock(connection)
                connection.execute(f"drop index if exists {name(index)}")
                connection.execute(f"create index {name(index)} on {where}")
            yield Finding(
                "repaired" if repair else "repairable",
                index,
                "this index was lost: answers are slow",
            )


def _strays(connection: Connection) -> Iterator[Finding]:
    """Report rows that belong to nothing."""
    behind = [(t.name, "r.rid = t.rid") for t in _BY_RUN]
    behind.append((LINEAGE.name, f"digest(r.{_RUN_ID}) = digest(t.{_RUN_ID})"))
    for table, same in behind:
        [(count,)] = connection.rows(
            f"select count(*) from {table} t "
            f"where not exists (select from runs r where {same} and r.present)"
        )
        if count:
            yield Finding("note", table, f"{count} rows belong to runs that are not there")
    negative = " or ".join(f"{name(f)} < 0" for f in Mark._fields)
    for (writer,) in connection.rows(f"select writer from marks where {negative}"):
        yield Finding("lost", "marks", f"the mark of writer {writer} is negative")
