"""Records in one SQLite file, written in microseconds and read in Arrow."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, SchemaMismatch, StoreClosed, StoreError

from . import sqlite_schema as schema
from .recordplan import plan
from .sqlite_apply import apply, look_up, read_marks
from .sqlite_connect import connect, transaction
from .sqlite_library import Pool, lease
from .sqlite_memory import pin
from .sqlite_schema import create, open_empty, open_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from mlrun.contracts import Finding, Mark, Op
    from mlrun.tables import Table

    from .sqlite_connect import Connection
    from .sqlite_read import View

__all__ = ["SQLiteRecords"]

_URL = re.compile(r"sqlite://(?P<path>/.+?)(?:\?journal_mode=(?P<mode>wal|truncate))?", re.DOTALL)


class SQLiteRecords:
    """Meets the law of `mlrun.contracts.Records`, and CanLookup, CanCheck, CanMigrate.

    Transactions survive a killed process. After a power failure the file is whole, but the last transactions may be
    missing, unless `sync()` was called after them.

    Args:
        url: `sqlite:///` and an absolute path, taken as it is (nothing is percent-decoded). On a network file system
            `?journal_mode=truncate` must follow: the write-ahead log works on one machine only.

    Attributes:
        url: as given.
        path: of the file.
    """

    def __init__(self, url: str) -> None:
        match = _URL.fullmatch(url)
        if match is None:
            raise ConfigError(f"sqlite:////absolute/path[?journal_mode=truncate], not {url!r}")
        self.url = url
        self.path = os.path.normpath("/" + match["path"].lstrip("/"))
        self._mode = match["mode"] or "wal"
        self._closed = False
        self._pool = Pool(self._open)

    def __repr__(self) -> str:
        """Show the URL."""
        return f"SQLiteRecords({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as URL."""
        return SQLiteRecords, (self.url,)

    def create(self) -> None:
        """Make the file and its tables, or migrate it after a backup; idempotent.

        Raises:
            StoreVersionError: a newer mlrun made it. StoreError: it cannot be made, or is no store of ours.
        """
        if os.path.exists(self.path):
            with suppress(StoreError), self._lend():
                return  # it is there and of this version: the usual case, and the connection is kept
        if self._closed:
            raise StoreClosed(f"{self.url} was closed")
        if self._is_out_of_reach():
            return
        with lease() as library:
            connection = connect(self.path, library, mapped=self._mode == "wal", create=True)
            try:
                create(connection, self.path, self._mode)
            finally:
                connection.close()

    def versions(self) -> tuple[int, int]:
        """Return the version of the file, 0 if there is none, and the version that this mlrun writes."""
        if not os.path.exists(self.path):
            return 0, schema.VERSION
        with self._borrow(arrow=False) as connection:
            [(version,)] = connection.rows("pragma user_version")
        return int(version), schema.VERSION

    def backup_command(self) -> str:
        """Return nothing: the file is copied before it is migrated, to `<file>.v<version>.bak`."""
        return ""

    def migrate(self) -> None:
        """Bring the file to this version, in one transaction, after a backup."""
        self.create()

    def apply(
        self,
        ops: Sequence[Op],
        *,
        summaries: Iterable[Sequence[Any]] = (),
        expected: Mapping[str, Mark] | None = None,
        marks: Mapping[str, Mark] | None = None,
    ) -> None:
        """Apply ops in order, merge partial summaries, move marks, all in one transaction.

        Raises:
            MarkConflict, RowConflict: what is stored is not what was expected.
            SchemaMismatch: an op does not fit its table.
            StoreError: others wrote for more than 30 s, or the disk is full. In all cases nothing is written.
        """
        steps, folded = plan(ops), list(summaries)
        with self._lend() as connection, transaction(connection):
            apply(connection, steps, folded, expected, marks)

    @contextmanager
    def read(self) -> Iterator[View]:
        """Open a consistent snapshot of all tables and marks."""
        from .sqlite_read import View

        with self._borrow(arrow=True) as connection:
            connection.execute("begin")
            try:
                if not pin(connection):
                    open_version(connection, self.path)
                view = View(connection)
                try:
                    yield view
                finally:
                    view.end()
            finally:
                connection.execute("rollback")

    def lookup(self, table: Table, key: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows that match every column of `key`, as plain dicts, without pyarrow."""
        if unknown := set(key) - set(table.names):
            raise SchemaMismatch.of(table.name, unknown=unknown)
        with self._lend() as connection:
            return look_up(connection, table, key)

    def marks(self) -> dict[str, Mark]:
        """Return the high-water mark of every journal writer, without pyarrow."""
        with self._lend() as connection:
            return read_marks(connection)

    def load(self, table: Table, data: pa.Table | Iterable[pa.Table]) -> None:
        """Put many rows at once, in one transaction; as `apply` with puts of whole rows, from Arrow.

        Args:
            table: which.
            data: any columns that make up whole rows; what is not null in the table must be there. Of several tables
                one after the other is held in memory; indexes are built once, after the last.
        """
        from .sqlite_load import load

        with self._lend(arrow=True) as connection:
            load(connection, table, data)

    def sync(self) -> None:
        """Make everything that was applied survive a power failure too; a journal may be unlinked after it."""
        try:
            log = os.open(f"{self.path}-wal", os.O_RDWR)
        except FileNotFoundError:
            return  # no write-ahead log: every commit was synced, or checkpointed, which syncs
        try:
            os.fsync(log)
        finally:
            os.close(log)

    def check(self, *, repair: bool = False) -> list[Finding]:
        """Look for damaged pages and rows that belong to nothing.

        Args:
            repair: put what can be read into a new file, and keep the damaged one beside it. Nothing else may use the
                store meanwhile.
        """
        from .sqlite_check import check

        return check(self.path, self._mode, self._pool.close_idle, repair=repair)

    def close(self) -> None:
        """Release connections."""
        self._closed = True
        self._pool.close_idle()

    @contextmanager
    def _lend(self, *, arrow: bool = False) -> Iterator[Connection]:
        with self._borrow(arrow=arrow) as connection:
            open_version(connection, self.path)
            yield connection

    @contextmanager
    def _borrow(self, *, arrow: bool) -> Iterator[Connection]:
        """Lend a connection whose version is not looked at yet."""
        if self._closed:
            raise StoreClosed(f"{self.url} was closed")
        with self._pool.lend(arrow=arrow) as connection:
            yield connection

    def _is_out_of_reach(self) -> bool:
        """Whether this is a reader of a folder in which nobody who may write it has made the file yet."""
        folder = os.path.dirname(self.path)
        return (
            not os.path.exists(self.path)
            and os.path.isdir(folder)
            and not os.access(folder, os.W_OK)
        )

    def _open(self, library: str) -> Connection:
        if self._is_out_of_reach():
            return open_empty(self.path, library)
        return connect(self.path, library, mapped=self._mode == "wal")
