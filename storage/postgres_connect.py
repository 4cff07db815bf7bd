"""Connections to one PostgreSQL database through ADBC's low-level handles, and the pool that lends them.

A connection costs some 50 ms, so it is kept. One that the server closed meanwhile (a restart, an idle limit) is noticed
when the next transaction begins on it, before anything depends on it: it is thrown away and another one is opened.
A forked child inherits sockets that are its parent's: it neither uses nor closes them.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mlrun.credentials import with_secrets, without_secrets
from mlrun.errors import CorruptStore, SchemaMismatch, StoreClosed, StoreError

from .arrowrows import Row, StreamError, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

__all__ = ["SCHEMA", "Connection", "Disconnected", "Listed", "Pool"]

SCHEMA = "mlrun"  # all tables lie in a schema of their own: a database may be shared with others
WAIT_SECONDS = 30
_READ = "begin isolation level repeatable read read only"
_SETTINGS = {
    "search_path": f"{SCHEMA},pg_catalog",
    "jit": "off",  # compiling a query costs more than most of ours take
    "random_page_cost": "1.1",
    "work_mem": "64MB",
    "lock_timeout": f"{WAIT_SECONDS}s",
    "timezone": "UTC",
}
_OPTIONS = {
    "application_name": "mlrun",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "client_encoding": "UTF8",
}
_STARTING = ("starting up", "shutting down", "in recovery mode")
_LOST = ("no connection to the server", "server closed the connection", "connection to server")
_KINDS = {str: "string", float: "float64", int: "int64", bool: "bool_"}


class Disconnected(StoreError):
    """The connection is gone, or none can be made."""


class Listed:
    """Many values as one parameter.

    Args:
        values: of one type, or None; NaN is stored as null.
        kind: `string`, `float64`, `int64` or `bool_`.
    """

    def __init__(self, values: Sequence[Any], kind: str) -> None:
        self.values = values
        self.kind = kind


class Connection:
    """One session; not for two threads at once."""

    def __init__(self, url: str) -> None:
        import adbc_driver_manager as adbc
        import adbc_driver_postgresql

        self._adbc = adbc
        self.shown = without_secrets(url)
        with self._told():
            self._db = adbc_driver_postgresql.connect(_conninfo(with_secrets(url)))
            try:
                self._connection = adbc.AdbcConnection(self._db)
            except BaseException:
                self._db.close()
                raise

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run one statement; return how many rows it changed, -1 where that has no meaning."""
        with self._statement(sql, params) as statement:
            return int(statement.execute_update())

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query; without pyarrow, unless a parameter is a list. Times come as int microseconds then."""
        if any(isinstance(p, Listed) for p in params):
            found = self.arrow(sql, params)
            return list(zip(*(c.to_pylist() for c in found.columns), strict=True))
        with self._statement(sql, params) as statement:
            handle, _ = statement.execute_query()
            try:
                return read_rows(handle.address)
            except StreamError as error:
                raise _error(str(error), None, self.shown) from error

    def arrow(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """Run a query; types are those of PostgreSQL, without what the driver says of them."""
        import pyarrow as pa

        with self._statement(sql, params) as statement:
            handle, _ = statement.execute_query()
            try:
                found = pa.RecordBatchReader._import_from_c(handle.address).read_all()
            except (pa.ArrowException, OSError) as error:
                raise _error(str(error), None, self.shown) from error
        plain = pa.schema([f.remove_metadata() for f in found.schema])
        return found.replace_schema_metadata(None).cast(plain)

    def copy(self, target: str, data: pa.Table) -> None:
        """Make the temporary table `target` of `data`, by COPY."""
        with self._told():
            statement = self._adbc.AdbcStatement(self._connection)
            try:
                statement.set_options(**{
                    "adbc.ingest.target_table": target,
                    "adbc.ingest.mode": "adbc.ingest.mode.create",
                    "adbc.ingest.temporary": "true",
                })  # fmt: skip
                statement.bind_stream(data.__arrow_c_stream__())
                statement.execute_update()
            finally:
                statement.close()

    def close(self) -> None:
        """End the session; never fails."""
        for handle in (self._connection, self._db):
            with suppress(self._adbc.Error, RuntimeError):
                handle.close()

    def immortalize(self) -> None:
        """Keep the handles for ever: closing them in a forked child would end the parent's session."""
        for handle in (self._connection, self._db):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))

    @contextmanager
    def _statement(self, sql: str, params: Sequence[Any]) -> Iterator[Any]:
        with self._told():
            statement = self._adbc.AdbcStatement(self._connection)
            row = None  # lives until the statement is closed
            try:
                statement.set_sql_query(sql)
                if any(isinstance(p, Listed) for p in params):
                    statement.prepare()
                    statement.bind(*_batch(params).__arrow_c_array__()[::-1])
                elif params:
                    row = Row(params)
                    statement.prepare()
                    array, schema = self._adbc.ArrowArrayHandle(), self._adbc.ArrowSchemaHandle()
                    row.move_to(array.address, schema.address)
                    statement.bind(array, schema)
                yield statement
            finally:
                statement.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._adbc.Error as error:
            raise _error(str(error), error.sqlstate, self.shown) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise SchemaMismatch(f"a value cannot be stored: {error}") from error


def _batch(params: Sequence[Any]) -> pa.RecordBatch:
    """Return parameters as one row."""
    import pyarrow as pa

    columns = []
    for value in params:
        if isinstance(value, Listed):
            kind = getattr(pa, value.kind)()
            values = pa.array(value.values, kind, from_pandas=True)
            offsets = pa.array([0, len(values)], pa.int32())
            columns.append(pa.ListArray.from_arrays(offsets, values))
        else:
            kind = _KINDS.get(type(value), "string")
            columns.append(pa.array([value], getattr(pa, kind)()))
    return pa.record_batch(columns, names=[str(n) for n in range(len(columns))])


def _conninfo(url: str) -> str:
    """Return the URL with our settings; options that the user gave win over them."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    ours = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
    theirs = options.pop("options", "")
    query = {**_OPTIONS, **options, "options": f"{ours} {theirs}".strip()}
    # libpq decodes %20, not the plus sign of forms
    return urlunsplit(parts._replace(query=urlencode(query).replace("+", "%20")))


def _error(told: str, state: str | None, shown: str) -> StoreError | SchemaMismatch:
    """Return our error for the driver's: its first line only, the query stands below."""
    text = told.partition("\n")[0].strip()
    state = state or ""
    if state[:2] in ("08", "57") or any(word in told for word in (*_LOST, *_STARTING)):
        return Disconnected(f"{shown}: {text}")
    if state == "55P03":
        return StoreError(f"{shown}: others held it for more than {WAIT_SECONDS} s")
    if state in ("42P01", "3F000"):
        return StoreError(f"{shown} is not made yet: call create()")
    if state in ("XX001", "XX002"):
        return CorruptStore(f"{shown}: {text}; run `mlrun doctor`")
    if state[:2] in ("22", "23", "54"):
        return SchemaMismatch(f"{shown}: {text}")
    return StoreError(f"{shown}: {text}")


class Pool:
    """Connections to one database: each lent to one caller at a time, for one transaction.

    Args:
        url: of the database.
        keep: idle connections that are kept.
        most: connections at once; a caller beyond them waits, up to 30 s.
    """

    def __init__(self, url: str, *, keep: int = 8, most: int = 32) -> None:
        self._url = url
        self._keep = keep
        self._most = most
        self._closed = False
        self._renew()
        _pools.add(self)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._room = threading.BoundedSemaphore(self._most)
        self._pid = os.getpid()

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """Lend a connection on which a transaction has begun: one snapshot to read, or read committed to write.

        A block that ends well is committed; one that raises is rolled back.
        """
        room, pid = self._room, self._pid
        if not room.acquire(timeout=WAIT_SECONDS):
            raise StoreError(f"{without_secrets(self._url)}: all {self._most} connections are busy")
        try:
            connection = self._begun("begin" if write else _READ)
            sound = False
            try:
                yield connection
                connection.execute("commit")
                sound = True
            except BaseException as error:
                if isinstance(error, Exception) and not isinstance(error, Disconnected):
                    with suppress(StoreError, SchemaMismatch):
                        connection.execute("rollback")
                        sound = True
                raise
            finally:
                self._take_back(connection, pid, sound=sound)
        finally:
            if pid == os.getpid():
                room.release()

    def close(self) -> None:
        """Close the connections that nobody uses now, and the others when they come back."""
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def disown(self) -> None:
        """Forget the parent's connections, in a forked child."""
        for connection in (*self._idle, *self._lent):
            connection.immortalize()
        self._renew()

    def _begun(self, begin: str) -> Connection:
        while True:
            with self._lock:
                if self._closed:
                    raise StoreClosed(f"{without_secrets(self._url)} was closed")
                connection = self._idle.pop() if self._idle else None
            old = connection is not None
            connection = connection or self._connect()
            with self._lock:
                self._lent.add(connection)
            try:
                connection.execute(begin)
            except BaseException as error:
                self._take_back(connection, os.getpid(), sound=False)
                if old and isinstance(error, Disconnected):
                    continue  # the server was restarted since it was last used
                raise
            return connection

    def _connect(self) -> Connection:
        """Open a connection, waiting some seconds for a server that is about to be ready."""
        pause, deadline = 0.05, time.monotonic() + 10
        while True:
            try:
                return Connection(self._url)
            except Disconnected as error:
                starting = any(word in str(error.__cause__) for word in _STARTING)
                if not starting or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _take_back(self, connection: Connection, pid: int, *, sound: bool) -> None:
        if pid != os.getpid():
            return  # the parent's
        with self._lock:
            self._lent.discard(connection)
            if sound and not self._closed and len(self._idle) < self._keep:
                self._idle.append(connection)
                return
        connection.close()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_in_child() -> None:
    for pool in list(_pools):
        pool.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
