"""Requests to a ClickHouse server over HTTP, or to the engine in this process; the one home of their driver.

Text and numbers of users are bound, never pasted; names of ours are quoted. A forked child opens connections of its
own; the engine in process does not survive a fork, so there the child is told.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from mlrun.credentials import with_secrets, without_secrets
from mlrun.errors import ConfigError, MissingExtra, SnapshotExpired, StoreClosed, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

__all__ = ["EMBEDDED", "Absent", "Client", "Disconnected", "name"]

EMBEDDED = "clickhouse+chdb"
_SCHEMES = ("clickhouse", EMBEDDED)
_DATABASE = "mlrun"
_OPTIONS = frozenset({
    "secure", "verify", "ca_cert", "client_cert", "client_cert_key", "server_host_name", "database",
    "connect_timeout", "send_receive_timeout", "fsync", "retention_days",
})  # fmt: skip
_PASSED = ("ca_cert", "client_cert", "client_cert_key", "server_host_name")
_SECONDS = ("connect_timeout", "send_receive_timeout")
_FALSE = ("0", "false", "no", "off")
_ABSENT = (60, 81)  # no such table, no such database
_EXPIRED = 395  # what `throwIf` raises
_READ = {
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
    "output_format_arrow_compression_method": "lz4_frame",
}
# one insert is one block is one part: seen whole or not at all
_WRITE = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "max_insert_threads": 1,
    "max_threads": 1,  # the condition reads a few lines of the log
    "max_insert_block_size": 1 << 40,
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 1 << 50,
}
_engine_pid = 0  # the process in which the engine was started


class Disconnected(StoreError):
    """The server cannot be reached, or did not answer: it is not known whether it did what it was asked."""


class Absent(StoreError):
    """The database or the table is not made yet."""


def name(word: str) -> str:
    """Return an SQL identifier."""
    return "`" + word.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Client:
    """Requests to one database, from many threads; connects when first asked.

    Args:
        url: `clickhouse://[user[:password]@]host[:port]/database[?options]` or `clickhouse+chdb:///folder[?database=]`.

    Attributes:
        url: without the password.
        database: its name.
        embedded: whether the engine runs in this process.
        options: what stands behind the question mark, by name.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = without_secrets(url)
        self.options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.embedded = parts.scheme == EMBEDDED
        if parts.scheme not in _SCHEMES or (
            self.embedded == bool(parts.hostname) or (self.embedded and len(parts.path) < 2)
        ):
            raise ConfigError(
                "clickhouse://user@host:port/database or clickhouse+chdb:///folder, not "
                f"{self.url!r}"
            )
        if unknown := set(self.options) - _OPTIONS - {"password"}:
            raise ConfigError(f"{self.url}: there is no option {min(unknown)!r}")
        named = "" if self.embedded else unquote(parts.path.strip("/"))
        self.database = named or self.options.get("database") or _DATABASE
        self._full = with_secrets(url)
        self._lock = threading.Lock()
        self._alone = threading.RLock()
        self._opened: Any = None
        self._pid = 0
        self._closed = False

    def table(self, table: str) -> str:
        """Return the quoted name of a table with its database."""
        return f"{name(self.database)}.{name(table)}"

    def is_on(self, option: str, *, default: bool) -> bool:
        """Whether an option of the URL says yes."""
        return self.options[option] not in _FALSE if option in self.options else default

    def number(self, option: str) -> int:
        """Return a whole number of the URL's options, 0 if it is not there."""
        try:
            return int(self.options.get(option, "0"))
        except ValueError as error:
            raise ConfigError(f"{self.url}: {option} is a whole number") from error

    def command(self, sql: str, params: Mapping[str, Any] | None = None, **settings: Any) -> None:
        """Run a statement that returns no rows."""
        with self._lent() as client:
            client.command(sql, parameters=_params(params), settings=settings)

    def rows(self, sql: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query whose answer is small."""
        found = self.stream(sql, params).read_all()
        return list(zip(*(c.to_pylist() for c in found.columns), strict=True))

    def stream(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        """Run a query; its first rows are there when this returns, more come as they are read."""
        import pyarrow as pa

        with self._lent() as client:
            source = client.raw_stream(
                sql, parameters=_params(params), settings=_READ, fmt="ArrowStream"
            )
            reader = pa.ipc.open_stream(source)
        return pa.RecordBatchReader.from_batches(reader.schema, self._batches(reader, source))

    def insert(
        self, table: str, data: pa.Table, *, token: str, condition: str, struct: Mapping[str, str]
    ) -> None:
        """Insert rows as one block, unless a block with this token is there, or the condition does not hold.

        Args:
            table: quoted.
            data: rows.
            token: names the block for ever.
            condition: SQL over the table, looked at by the server when the rows have arrived; the engine in this
                process, which serves nobody else, does not look.
            struct: columns and their types.
        """
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(sink, data.schema, options=options) as writer:
            writer.write_table(data.combine_chunks())
        columns = ", ".join(name(c) for c in struct)
        settings = {**_WRITE, "insert_deduplication_token": token}
        with self._lent() as client:
            if self.embedded:
                client.raw_insert(
                    f"{table} ({columns})", None, sink.getvalue(), settings, "ArrowStream"
                )
                return
            types = ", ".join(f"{name(c)} {t}" for c, t in struct.items())
            types = types.replace("\\", "\\\\").replace("'", "\\'")
            sql = (
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM input('{types}') "
                f"WHERE {condition} FORMAT ArrowStream\n"
            )
            body = b"".join((sql.encode(), sink.getvalue()))
            client.raw_insert(None, None, body, settings, "ArrowStream")

    def close(self) -> None:
        """Close connections; later requests raise `StoreClosed`."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, None
        if opened is not None and self._pid == os.getpid():
            opened.close()

    def alive(self) -> None:
        """Raise StoreClosed after `close`."""
        if self._closed:
            raise StoreClosed(f"{self.url} was closed")

    def _batches(self, reader: Any, source: Any) -> Iterator[pa.RecordBatch]:
        try:
            with self._told():
                yield from reader
        finally:
            source.close()

    @contextmanager
    def _lent(self) -> Iterator[Any]:
        """Lend the driver's client, opened if it is not.

        The engine in process serves one request after the other, and what a request that failed had begun to answer
        comes before the answer of the next one: then the client is thrown away.
        """
        self.alive()
        with self._told():
            if not self.embedded:
                yield self._client()
                return
            self._refuse_fork()
            with self._alone:
                try:
                    yield self._client()
                except BaseException:
                    opened, self._opened = self._opened, None
                    if opened is not None:
                        opened.close()
                    raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the driver's errors into ours, which hold no credentials."""
        import pyarrow as pa
        from clickhouse_connect.driver import exceptions as theirs

        try:
            yield
        except theirs.OperationalError as error:
            raise Disconnected(f"{self.url}: {_first_line(error)}") from error
        except theirs.ClickHouseError as error:
            raise self._error(error) from error
        except (pa.ArrowException, OSError) as error:
            raise Disconnected(f"{self.url}: the answer broke off: {_first_line(error)}") from error

    def _error(self, error: Any) -> StoreError:
        code = getattr(error, "code", None)
        text = _first_line(error)
        if code in _ABSENT:
            return Absent(f"{self.url} is not made yet: call create()")
        if code == _EXPIRED:
            return SnapshotExpired(
                f"{self.url}: rows of this snapshot were freed by compaction; ask again"
            )
        if "Unable to open the chdb engine" in text:
            return StoreError(
                f"{self.url}: the engine serves one process and one folder at a time: another process has this "
                "folder, or this process another"
            )
        return StoreError(f"{self.url}: {text}")

    def _client(self) -> Any:
        with self._lock:
            if self._opened is None or self._pid != os.getpid():
                if self.embedded:
                    self._opened = self._embedded()
                else:
                    self._opened = self._connected()
                self._pid = os.getpid()
            return self._opened

    def _connected(self) -> Any:
        import clickhouse_connect

        parts = urlsplit(self._full)
        secure = self.is_on("secure", default=False)
        options: dict[str, Any] = {k: self.options[k] for k in _PASSED if k in self.options}
        options |= {k: self.number(k) for k in _SECONDS if k in self.options}
        stated = dict(parse_qsl(parts.query)).get("password", "")
        return clickhouse_connect.get_client(
            host=parts.hostname,
            port=parts.port or (8443 if secure else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password) if parts.password else stated,
            secure=secure,
            verify=self.is_on("verify", default=True),
            compress=False,  # Arrow compresses its buffers itself
            autogenerate_session_id=False,  # a session serves one request at a time
            form_encode_query_params=True,  # thousands of run ids are too long for a URL
            client_name="mlrun",
            **options,
        )

    def _refuse_fork(self) -> None:
        """Raise in a forked child of a process that used the engine: it would hang."""
        if _engine_pid not in (0, os.getpid()):
            raise StoreError(
                f"{self.url}: the engine cannot be used in a forked child of a process that used it: "
                'start it with the "spawn" or "forkserver" method'
            )

    def _embedded(self) -> Any:
        global _engine_pid  # an engine is one per process
        if find_spec("chdb") is None:
            raise MissingExtra.of("chdb", "chdb")
        import clickhouse_connect

        _engine_pid = os.getpid()
        folder = Path(unquote(urlsplit(self._full).path))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return clickhouse_connect.get_client(interface="chdb", path=str(folder))


def _params(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(given) if given else None


def _first_line(error: Any) -> str:
    return str(error).partition("\n")[0].strip()[:500]
