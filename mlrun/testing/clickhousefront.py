"""The process behind `mlrun.testing.clickhouse`: the ClickHouse engine of chdb, and HTTP as its server speaks it.

It understands what the client `clickhouse-connect` sends: queries with parameters and settings, inserts with their
data in the body, `SELECT … FROM input(…)`, compressed bodies, passwords. Sessions are accepted and ignored. It ends
with the process that started it.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import sys
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["main"]

# what HTTP consumes itself: the engine knows no such settings
_CONTROL = frozenset({
    "buffer_size", "cancel_http_readonly_queries_on_client_close", "client_protocol_version", "compress", "database",
    "default_format", "enable_http_compression", "http_headers_progress_interval_ms", "http_zlib_compression_level",
    "password", "query", "query_id", "role", "send_progress_in_http_headers", "session_check", "session_id",
    "session_timeout", "user", "wait_end_of_query",
})  # fmt: skip
_CODE = re.compile(r"Code: (\d+)\.")
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s+(?P<target>.+?)\s+(?P<select>SELECT\s.+?\s)?FORMAT\s+(?P<format>\w+)[ \t]*\r?\n",
    re.IGNORECASE | re.DOTALL,
)
_NAMED = re.compile(rb'\bname="([^"]*)"')
_NEAR = 4  # differences: with more, another session is opened
_KEPT = 16  # idle sessions
_HEAD = 1 << 16  # an insert's statement is shorter
_INPUT = re.compile(r"\binput\s*\(", re.IGNORECASE)


class Engine:
    """Sessions of one engine, each lent to one request at a time."""

    def __init__(self, path: str) -> None:
        connect: Any = chdb.connect
        self._connect: Callable[[], Any] = lambda: connect(path)
        self._anchor = self._connect()  # the engine runs while a session is open
        # with the settings that hold in it, and the database as ""
        self._idle: list[tuple[Any, dict[str, str]]] = []
        self._lock = threading.Lock()

    @contextmanager
    def session(self, database: str, settings: Mapping[str, str]) -> Iterator[Any]:
        """Lend a session in which a database and settings hold: the one that lacks least of it."""
        wanted = {**settings, "": database}
        with self._lock:
            near = min(
                self._idle, key=lambda pair: len(wanted.items() ^ pair[1].items()), default=None
            )
            if near is not None and len(wanted.items() ^ near[1].items()) <= _NEAR:
                self._idle.remove(near)
            else:
                near = None
        session, held = near or (self._connect(), {})
        for name in held.keys() - wanted.keys():
            session.query(f"SET {name} = DEFAULT", "Null")
        for name, value in wanted.items():
            if held.get(name) != value:
                told = f"SET {name} = {_text(value)}" if name else f"USE {_name(value)}"
                session.query(told, "Null")
        try:
            yield session
        except BaseException:
            session.close()  # what a query that failed had begun to answer would come before the next answer
            raise
        with self._lock:
            self._idle = [*self._idle[-_KEPT:], (session, wanted)]


def _name(word: str) -> str:
    return "`" + word.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _text(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"


def run(
    engine: Engine, asked: Mapping[str, str], body: bytes, database: str
) -> tuple[bytes, str, dict[str, str]]:
    """Answer one request; returns body, format and summary."""
    settings = {k: v for k, v in asked.items() if k not in _CONTROL and not k.startswith("param_")}
    params = {k.removeprefix("param_"): v for k, v in asked.items() if k.startswith("param_")}
    sql = b"\n".join(filter(None, (asked.get("query", "").encode(), body)))
    with engine.session(asked.get("database") or database, settings) as session:
        insert = _INSERT.match(sql[:_HEAD])
        if insert is not None:
            return b"", "", _insert(session, insert, sql[insert.end() :])
        found = _FORMAT.search(sql[-200:])
        kind = found[1].decode() if found else asked.get("default_format", "TabSeparated")
        result = session.query(sql.decode(), kind, params=params or None)
        return result.bytes() or b"", kind, _summary(result)


def _insert(session: Any, insert: re.Match[bytes], data: bytes) -> dict[str, str]:
    """Insert a body: the engine takes it from a file."""
    target, kind = insert["target"].decode(), insert["format"].decode()
    with tempfile.NamedTemporaryFile(suffix=".body") as file:
        file.write(data)
        file.flush()
        if insert["select"] is None:
            sql = f"INSERT INTO {target} FROM INFILE {_text(file.name)} FORMAT {kind}"
        else:
            taken = _INPUT.sub(
                f"file({_text(file.name)}, {_text(kind)}, ", insert["select"].decode(), count=1
            )
            sql = f"INSERT INTO {target} {taken}"
        return _summary(session.query(sql, "Null"))


def _summary(result: Any) -> dict[str, str]:
    rows = str(result.rows_read())
    return {"read_rows": rows, "written_rows": rows, "written_bytes": "0", "result_rows": rows}


def _fields(kind: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form."""
    border = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    found = {}
    for part in body.split(b"\r\n" + border):
        head, _, content = part.partition(b"\r\n\r\n")
        named = _NAMED.search(head)
        if named:
            found[named[1].decode()] = content.decode()
    return found


class Handler(BaseHTTPRequestHandler):
    """One connection; header and body leave in one write, for two would wait for each other."""

    protocol_version = "HTTP/1.1"
    timeout = 600
    engine: Engine
    password: str

    def setup(self) -> None:
        """Send small answers at once."""
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        """Answer `/ping`, or a query in the URL."""
        if urlsplit(self.path).path == "/ping":
            self._reply(200, b"Ok.\n", {})
        else:
            self._serve(b"")

    def do_POST(self) -> None:
        """Answer a query."""
        self._serve(self._body())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _serve(self, body: bytes) -> None:
        asked = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if (self.headers.get_content_type()) == "multipart/form-data":
            asked, body = {**asked, **_fields(self.headers["Content-Type"], body)}, b""
        if not self._is_known(asked):
            why = "Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)"
            self._reply(403, why.encode(), {"X-ClickHouse-Exception-Code": "516"})
            return
        wanted = self.headers.get("X-ClickHouse-Format")
        if wanted:
            asked.setdefault("default_format", wanted)
        try:
            database = self.headers.get("X-ClickHouse-Database") or "default"
            answer, kind, summary = run(self.engine, asked, body, database)
        except Exception as error:  # noqa: BLE001 - whatever the engine says goes to the client
            why = str(error)
            code = _CODE.search(why)
            headers = {"X-ClickHouse-Exception-Code": code[1] if code else "1002"}
            self._reply(500, why.encode("utf-8", "replace"), headers)
            return
        headers = {
            "X-ClickHouse-Format": kind,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Query-Id": asked.get("query_id", ""),
            "X-ClickHouse-Server-Display-Name": "chdb",
            "X-ClickHouse-Summary": json.dumps(summary),
        }
        self._reply(200, answer, {k: v for k, v in headers.items() if v})

    def _is_known(self, asked: Mapping[str, str]) -> bool:
        if not self.password:
            return True
        given = self.headers.get("X-ClickHouse-Key") or asked.get("password", "")
        kind, _, word = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            given = base64.b64decode(word).decode().partition(":")[2]
        return given == self.password

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b"".join(self._chunks())
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        coding = self.headers.get("Content-Encoding", "")
        if coding in ("gzip", "zstd", "lz4"):
            with pa.input_stream(pa.BufferReader(data), compression=coding) as plain:
                data = plain.read()
        return data

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        head = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}"]
        head += [f"{k}: {v}" for k, v in {**headers, "Content-Length": str(len(body))}.items()]
        self.wfile.write("\r\n".join([*head, "", ""]).encode() + body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(path: str, password: str = "") -> None:
    """Serve the engine of a folder; write the port to stdout, end when stdin does."""
    Path(path).mkdir(parents=True, exist_ok=True)
    engine = Engine(path)
    with engine.session("default", {}) as session:
        session.query("SELECT 1", "Null")
    handler = type("Bound", (Handler,), {"engine": engine, "password": password})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
