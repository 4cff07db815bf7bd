"""Processes that answer for the gateway: each reads the store by itself, and can be ended without harm.

A child is started when an answer needs one, and kept for the next. One that takes too long, holds too much memory or
has died is ended, and what it was asked with it; nothing else is lost.
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from mlrun.errors import StoreBusy, StoreError
from mlrun.wire import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.store import Store

__all__ = ["GROWN", "HEAD", "Child", "ChildDied", "Children", "Limits"]

HEAD = struct.Struct("<BQ")  # kind (0 answer, 1 error of ours, 2 any other), bytes that follow
_LOOK_SECONDS = 0.05  # between two looks at a child that has not answered
GROWN = 0.5  # part of the memory that a child may hold when it has answered


class ChildDied(StoreError):
    """The process that worked at an answer has died."""


@dataclass(frozen=True)
class Limits:
    """What one answer may take.

    Attributes:
        seconds, bytes: of time, and of memory of its process.
        exceeded: makes the error of what was too much: `30 s` or `2048 MB`.
    """

    seconds: float
    bytes: int
    exceeded: Callable[[str], Exception]


class Children:
    """A pool of processes of one kind.

    Args:
        module: what they run, with `-m`.
        store: what they read.
        count: how many at most.
        limits: of each answer.
    """

    def __init__(self, module: str, store: Store, count: int, limits: Limits) -> None:
        self._module = module
        self._store = store
        self._limits = limits
        self._idle: list[Child] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(count)
        self._closed = False

    def run(self, asked: Any) -> bytes:
        """Return the answer to what is asked; called in a thread, waits for a free process.

        Raises:
            MlrunError: what the child raised, or the limits'.
            ChildDied: it died, of whatever.
            StoreBusy: none was free in time.
        """
        if not self._slots.acquire(timeout=self._limits.seconds):
            raise StoreBusy("others' questions are being answered: try again")
        try:
            child = self._take()
            try:
                kind, body = child.ask(pickle.dumps(asked), self._limits)
            except BaseException:
                child.kill()
                raise
            self._give_back(child)
        finally:
            self._slots.release()
        if kind == 0:
            return body
        if kind == 1:
            raise error_of(json.loads(body))
        raise RuntimeError(body.decode("utf-8", "replace"))

    def _take(self) -> Child:
        with self._lock:
            if self._closed:
                raise StoreBusy("the gateway is stopping: try again")
            while self._idle:
                child = self._idle.pop()
                if child.lives():
                    return child
                child.kill()
        return Child(self._module, self._store)

    def _give_back(self, child: Child) -> None:
        grown = child.memory() > self._limits.bytes * GROWN
        with self._lock:
            if not self._closed and not grown:
                self._idle.append(child)
                return
        child.kill()

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()


class Child:
    """One process, asked by one thread at a time.

    Args:
        module: what it runs, with `-m`.
        store: what it reads.
    """

    def __init__(self, module: str, store: Store) -> None:
        threads = max(1, (os.cpu_count() or 2) // 2)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=True,
            env={"POLARS_MAX_THREADS": str(threads), **os.environ},
        )
        self._about = psutil.Process(self._process.pid)
        # whole, with the passwords in its URLs: nobody else reads this pipe
        self._write(pickle.dumps((str(store.folder), dict(store._urls))))

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def memory(self) -> int:
        """Bytes that the process holds; 0 when it has gone."""
        try:
            return int(self._about.memory_info().rss)
        except psutil.Error:
            return 0

    def ask(self, asked: bytes, limits: Limits) -> tuple[int, bytes]:
        """Return the kind of answer and its bytes."""
        end = time.monotonic() + limits.seconds
        try:
            self._write(asked)
            kind, size = HEAD.unpack(b"".join(self._read(HEAD.size, end, limits)))
            return kind, b"".join(self._read(size, end, limits))
        except (BrokenPipeError, EOFError) as error:
            raise ChildDied("the process that worked at the answer has died; ask again") from error

    def _write(self, body: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(HEAD.pack(0, len(body)) + body)
        self._process.stdin.flush()

    def _read(self, size: int, end: float, limits: Limits) -> Iterator[bytes]:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        while size:
            ready, _, _ = select.select([handle], [], [], _LOOK_SECONDS)
            if not ready:
                self._check(end, limits)
                continue
            chunk = os.read(handle, min(size, 1 << 20))
            if not chunk:
                raise EOFError
            size -= len(chunk)
            yield chunk

    def _check(self, end: float, limits: Limits) -> None:
        if time.monotonic() > end:
            raise limits.exceeded(f"{limits.seconds:g} s")
        if self.memory() > limits.bytes:
            raise limits.exceeded(f"{limits.bytes >> 20} MB")

    def kill(self) -> None:
        """End the process; nobody waits for what it does."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self._process.wait()
