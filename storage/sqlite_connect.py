"""Connections to one SQLite file, through either library, with one face.

Both begin transactions by SQL, wait 30 s for a lock, and raise the errors of `mlrun.errors`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from mlrun.errors import CorruptStore, SchemaMismatch, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

__all__ = ["Connection", "connect", "open_uri", "transaction"]

BUSY_SECONDS = 30
# Rows of one Arrow batch. The driver takes a column's type from its first batch; what is read in more than one batch is
# headed by a row that has the right types, see `sqlite_read`.
_BATCH_ROWS = "65536"
_FEW_VALUES = 1000
_FEW_ROWS = "4096"  # the driver makes room for a whole batch in every column
_PREPARED = 64  # statements that a connection of the driver keeps ready
# The file is read through the kernel's page cache, without a copy, where mapping is safe.
_MMAP_BYTES = 1 << 35
# SQLite then takes the file as it is, and does not look whether somebody writes a log beside it.
_FROZEN = "&immutable=1"


class Connection(Protocol):
    """What both libraries can do; not for two threads at once.

    Attributes:
        lasting: whether what others commit later will be seen; else it serves one question.
        seen: the data version of the snapshot that `memory` is about; None after a write. See `sqlite_memory`.
        memory: facts about that snapshot.
    """

    lasting: bool
    seen: int | None
    memory: dict[Any, Any]

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Run one statement."""
        ...

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]] | pa.RecordBatch) -> None:
        """Run one statement for every row of parameters; a column holds one type, or None."""
        ...

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query."""
        ...

    def each(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a query of one parameter for every value, and return all rows."""
        ...

    def arrow(
        self, sql: str, params: Sequence[Any] | pa.RecordBatch = (), *, few: bool = False
    ) -> pa.Table:
        """Run a query, once for every row if a batch is given; types are those that SQLite finds.

        Args:
            sql: the query.
            params: values, or a batch of them.
            few: some thousand rows at most are expected: no more room is made for them.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def connect(path: str, library: str, *, mapped: bool = True, create: bool = False) -> Connection:
    """Open `path` with the library "sqlite3" or "adbc".

    Args:
        path: absolute.
        library: see `sqlite_library`.
        mapped: read through a memory map; not for network file systems.
        create: make the file if it is not there, for its owner only.
    """
    if not os.path.exists(path):
        if not create:
            raise StoreError(f"{path} is not made yet: call create()")
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fresh = not os.path.exists(path)
    uri = _uri(path, create=create)
    connection = open_uri(path, uri, library)
    connection.lasting = _FROZEN not in uri
    if fresh:
        os.chmod(path, 0o600)  # not by opening it first: closing it again would drop locks
    for pragma in (
        f"pragma busy_timeout={BUSY_SECONDS * 1000}",
        "pragma synchronous=normal",
        "pragma temp_store=memory",
        f"pragma mmap_size={_MMAP_BYTES if mapped else 0}",
        "pragma cache_size=-32768",
    ):
        connection.rows(pragma)
    return connection


def open_uri(path: str, uri: str, library: str) -> Connection:
    """Open a URI of SQLite's; `path` is what errors name."""
    kind = SQLiteConnection if library == "sqlite3" else ADBCConnection
    connection: Connection = kind(path, uri)
    return connection


@contextmanager
def transaction(connection: Connection, begin: str = "begin immediate") -> Iterator[None]:
    """Commit when the block ends, roll back when it raises."""
    connection.seen = None
    connection.execute(begin)
    try:
        yield
        connection.execute("commit")
    except BaseException:
        with suppress(
            StoreError
        ):  # SQLite may have rolled back itself; the first error is the one to see
            connection.execute("rollback")
        raise


def _error(told: str, path: str) -> Exception:
    text = told.partition("\n")[0]  # ADBC repeats the query below
    if "locked" in text or "busy" in text:
        return StoreError(f"{path}: others held it for more than {BUSY_SECONDS} s ({text})")
    if "malformed" in text or "not a database" in text or "disk image" in text:
        return CorruptStore(f"{path}: {text}; run `mlrun doctor`")
    if "constraint" in text:
        return SchemaMismatch(f"{path}: {text}")
    return StoreError(f"{path}: {text}")


def _uri(path: str, *, create: bool) -> str:
    """Return the URI of a file; a read-only one is opened without the files that SQLite would make beside it."""
    folder = os.access(os.path.dirname(path), os.W_OK)
    writable = folder and (create or not os.path.exists(path) or os.access(path, os.W_OK))
    if writable:
        return f"file:{quote(path)}?mode={'rwc' if create else 'rw'}"
    # Beside a log and its index it can be followed like any other; without them SQLite would have to make them.
    wal, index = f"{path}-wal", f"{path}-shm"
    calm = not os.path.exists(wal) or (os.path.getsize(wal) == 0 and not os.path.exists(index))
    return f"file:{quote(path)}?mode=ro" + (_FROZEN if calm else "")


class SQLiteConnection:
    """The interpreter's library."""

    lasting = True
    seen: int | None = None

    def __init__(self, path: str, uri: str) -> None:
        self._path = path
        self.memory: dict[Any, Any] = {}
        with self._told():
            self._db = sqlite3.connect(
                uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _error(str(error), self._path) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise SchemaMismatch(f"a value cannot be stored: {error}") from error

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        with self._told():
            self._db.execute(sql, params)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]] | pa.RecordBatch) -> None:
        with self._told():
            self._db.executemany(sql, rows if isinstance(rows, list) else _tuples(rows))

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            return self._db.execute(sql, params).fetchall()

    def each(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._told():
            execute = self._db.execute
            return [row for value in values for row in execute(sql, (value,))]

    def arrow(
        self, sql: str, params: Sequence[Any] | pa.RecordBatch = (), *, few: bool = False
    ) -> pa.Table:
        import pyarrow as pa

        from .sqlite_arrays import arrow_of

        found: list[tuple[Any, ...]] = []
        with self._told():
            for one in [params] if isinstance(params, (list, tuple)) else _tuples(params):
                cursor = self._db.execute(sql, one)
                found.extend(cursor.fetchall())
        names = [d[0] for d in cursor.description]
        columns = zip(*found, strict=True) if found else ([] for _ in names)
        return pa.table([arrow_of(c) for c in columns], names=names)

    def close(self) -> None:
        with self._told():
            self._db.close()


def _tuples(rows: Any) -> list[tuple[Any, ...]]:
    if hasattr(rows, "columns"):
        return list(zip(*(c.to_pylist() for c in rows.columns), strict=True))
    return list(rows)


class ADBCConnection:
    """The driver's library, by its low-level handles: the DB-API module would import pandas."""

    lasting = True
    seen: int | None = None

    def __init__(self, path: str, uri: str) -> None:
        import adbc_driver_manager as adbc
        import adbc_driver_sqlite

        self._adbc = adbc
        self._path = path
        self.memory: dict[Any, Any] = {}
        self._prepared: dict[str, Any] = {}
        with self._told():
            self._db = adbc_driver_sqlite.connect(uri)
            self._connection = adbc.AdbcConnection(self._db)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._adbc.Error as error:
            raise _error(str(error), self._path) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise SchemaMismatch(f"a value cannot be stored: {error}") from error

    @contextmanager
    def _statement(self, sql: str, params: Sequence[Any] | pa.RecordBatch) -> Iterator[Any]:
        """Lend a prepared statement with values bound; the last ones are kept: to make one costs more than a row."""
        from .sqlite_arrays import batch_of

        with self._told():
            statement = self._prepared.pop(sql, None)
            fresh = statement is None
            if fresh:
                statement = self._adbc.AdbcStatement(self._connection)
            try:
                if fresh:
                    statement.set_sql_query(sql)
                    statement.prepare()
                batch: Any = params if hasattr(params, "columns") else batch_of([params])
                if batch is not None:
                    statement.bind(*batch.__arrow_c_array__()[::-1])
                yield statement
            except BaseException:
                statement.close()
                raise
            self._prepared[sql] = statement  # the one used last comes last
            if len(self._prepared) > _PREPARED:
                self._prepared.pop(next(iter(self._prepared))).close()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        with self._statement(sql, params) as statement:
            statement.execute_update()

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]] | pa.RecordBatch) -> None:
        from .sqlite_arrays import batch_of

        with self._told():
            batch: Any = rows if hasattr(rows, "columns") else batch_of(rows)
        if batch is not None and batch.num_rows:
            with self._statement(sql, batch) as statement:
                statement.execute_update()

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return _tuples(self.arrow(sql, params, few=True))  # nearly all are a row or two
        except StoreError as error:
            if "Type mismatch" not in str(error):
                raise
            return _tuples(self.arrow(sql, params))  # a column that was empty for thousands of rows

    def each(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        from .sqlite_arrays import batch_of

        if not values:
            return []
        with self._told():
            batch = batch_of([(value,) for value in values])
        return _tuples(self.arrow(sql, batch, few=len(values) < _FEW_VALUES))

    def arrow(
        self, sql: str, params: Sequence[Any] | pa.RecordBatch = (), *, few: bool = False
    ) -> pa.Table:
        import pyarrow as pa

        with self._statement(sql, params) as statement:
            rows = _FEW_ROWS if few else _BATCH_ROWS
            statement.set_options(**{"adbc.sqlite.query.batch_rows": rows})
            handle, _ = statement.execute_query()
            try:
                return pa.RecordBatchReader._import_from_c(handle.address).read_all()
            except (pa.ArrowException, OSError) as error:
                raise _error(str(error), self._path) from error

    def close(self) -> None:
        with self._told():
            while self._prepared:
                self._prepared.popitem()[1].close()
            self._connection.close()
            self._db.close()
