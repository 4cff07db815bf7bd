"""Queries of callers, each in a process of its own that can be killed.

A child is started when a query needs one, and kept for the next. It is ended when it takes too long, holds too much
memory, or has grown; what it said until then is lost with it, and nothing else.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from mlrun.errors import SQLError, StoreBusy, StoreError
from mlrun.wire import error_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.store import Store

    from .options import Options

__all__ = ["SqlPool"]

_LOOK_SECONDS = 0.05  # between two looks at a child's memory
_GROWN = 0.5  # part of the memory that a child may hold when it has answered
_HEAD = struct.Struct("<BQ")


class SqlPool:
    """Runs queries in children.

    Args:
        store: what they read.
        options: the limits.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(options.sql_children)
        self._closed = False

    def run(self, query: str, projects: frozenset[str] | None, *, audits: bool = False) -> bytes:
        """Return the answer as an Arrow IPC stream; called in a thread.

        Args:
            query: one SELECT.
            projects: those that the caller may read; None for all.
            audits: whether the audit log may be read too.

        Raises:
            SQLError: it is no such query, it takes too long, or too much memory, or has too many rows.
            StoreBusy: others' queries run.
        """
        if not self._slots.acquire(timeout=self._options.sql_seconds):
            raise StoreBusy("other queries are running: try again")
        try:
            child = self._take()
            try:
                answer = child.ask(self._asked(query, projects, audits), self._options)
            except BaseException:
                child.kill()
                raise
            self._give_back(child)
        finally:
            self._slots.release()
        kind, body = answer
        if kind == 0:
            return body
        raise error_of(json.loads(body))

    def _asked(self, query: str, projects: frozenset[str] | None, audits: bool) -> bytes:
        only = None if projects is None else sorted(projects)
        asked = {"query": query, "projects": only, "audits": audits, "rows": self._options.sql_rows}
        return pickle.dumps(asked)

    def _take(self) -> _Child:
        with self._lock:
            if self._closed:
                raise StoreBusy("the gateway is stopping")
            while self._idle:
                child = self._idle.pop()
                if child.lives():
                    return child
                child.kill()
        return _Child(self._store)

    def _give_back(self, child: _Child) -> None:
        grown = child.memory() > self._options.sql_bytes * _GROWN
        with self._lock:
            if not self._closed and not grown:
                self._idle.append(child)
                return
        child.kill()

    def close(self) -> None:
        """End the children."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()


class _Child:
    def __init__(self, store: Store) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mlrun.app.sqlchild"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=True,
            env={**os.environ, "POLARS_MAX_THREADS": str(max(1, (os.cpu_count() or 2) // 2))},
        )
        self._about = psutil.Process(self._process.pid)
        # whole, with the passwords in its URLs: nobody else reads this pipe
        self._write(pickle.dumps((str(store.folder), dict(store._urls))))

    def lives(self) -> bool:
        return self._process.poll() is None

    def memory(self) -> int:
        """Bytes that the process holds; 0 when it has gone."""
        try:
            return int(self._about.memory_info().rss)
        except psutil.Error:
            return 0

    def ask(self, asked: bytes, options: Options) -> tuple[int, bytes]:
        """Return the kind of answer (0 frame, 1 error) and its bytes."""
        end = time.monotonic() + options.sql_seconds
        try:
            self._write(asked)
            head = b"".join(self._read(_HEAD.size, end, options))
            kind, size = _HEAD.unpack(head)
            return kind, b"".join(self._read(size, end, options))
        except (BrokenPipeError, EOFError) as error:
            raise StoreError("the process that ran the query has died; ask again") from error

    def _write(self, body: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(_HEAD.pack(0, len(body)) + body)
        self._process.stdin.flush()

    def _read(self, size: int, end: float, options: Options) -> Iterator[bytes]:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        while size:
            ready, _, _ = select.select([handle], [], [], _LOOK_SECONDS)
            if ready:
                chunk = os.read(handle, min(size, 1 << 20))
                if not chunk:
                    raise EOFError
                size -= len(chunk)
                yield chunk
            self._check(end, options)

    def _check(self, end: float, options: Options) -> None:
        if time.monotonic() > end:
            raise SQLError(
                f"the query took longer than {options.sql_seconds:g} s and was ended: ask for less"
            )
        if self.memory() > options.sql_bytes:
            raise SQLError(
                f"the query took more than {options.sql_bytes >> 20} MB and was ended: ask for less"
            )

    def kill(self) -> None:
        """End the process; nobody waits for what it does."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self._process.wait()
