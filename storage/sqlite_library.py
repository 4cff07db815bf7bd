"""One SQLite library at a time in a process.

A Python process that uses ADBC holds two SQLite libraries: the interpreter's, behind `sqlite3`, and the driver's own.
Each keeps its own book of what this process has locked, and the kernel cannot tell them apart: POSIX locks belong to
the process, so the one library is granted what the other holds (two writers in one log), and the first `close` of any
descriptor of the file drops the locks of both. No time-out or retry would notice; both end in a corrupt file.

So a process never has the file open in both. It starts with `sqlite3`, which is all that tracking needs and is imported
in milliseconds. The first read in Arrow waits for the transactions that run there (they are short and never wait for a
reader), closes those connections, and from then on everything in this process, writes too, goes through the driver's
library, where readers and writers are kept apart as SQLite means it. The switch is for the whole process, not for a
path, because two paths may name one file.

A fork copies the books but not the locks: a child that went on with the parent's library would believe in locks that
it does not hold. So idle connections are closed before a fork, and running `sqlite3` transactions are waited for; then
the books are empty and the child may use the same library. Where another thread is in the middle of a read, the child
leaves that library alone for ever and takes the other one, whose books are empty.

For the same reason nothing here ever opens the database file by itself: closing it again would drop the locks.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlrun.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .sqlite_connect import Connection

__all__ = ["Pool", "lease"]

_FORK_WAIT = 30.0  # as long as a transaction may wait for another process

_gate = threading.Condition()
_library = "sqlite3"
_running = {"sqlite3": 0, "adbc": 0}
_unfit: set[str] = set()
_forks = 0
_inherited: list[object] = []


@contextmanager
def lease(*, arrow: bool = False) -> Iterator[str]:
    """Yield the library, "sqlite3" or "adbc", that this block may use.

    Args:
        arrow: the block reads in Arrow: change to ADBC if that is possible in this process.
    """
    with _gate:
        library, born = _choose(arrow=arrow), _forks
        _running[library] += 1
    try:
        yield library
    finally:
        with _gate:
            if born == _forks:  # a forked child began to count anew
                _running[library] -= 1
                _gate.notify_all()


def _choose(*, arrow: bool) -> str:
    global _library  # the process has one
    if arrow and _library == "sqlite3" and "adbc" not in _unfit:
        _gate.wait_for(lambda: _library == "adbc" or _running["sqlite3"] == 0)
        if _library == "sqlite3":
            _close_idle()
            _library = "adbc"
    if _library in _unfit:
        raise StoreError(
            "this process was forked in the middle of a transaction; start it by spawn"
        )
    return _library


class Pool:
    """Connections of one store: lent to one caller at a time, closed before a fork or a change of library."""

    def __init__(self, connect: Callable[[str], Connection], *, keep: int = 8) -> None:
        self._connect = connect
        self._keep = keep
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        _pools.add(self)

    @contextmanager
    def lend(self, *, arrow: bool = False) -> Iterator[Connection]:
        """Yield a connection of the library that this process uses; a block that fails gets it closed."""
        with lease(arrow=arrow) as library:
            with _gate:
                born = _forks
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._connect(library)
            with _gate:
                self._lent.add(connection)
            sound = False
            try:
                yield connection
                sound = True
            finally:
                self._take_back(connection, born, sound=sound)

    def _take_back(self, connection: Connection, born: int, *, sound: bool) -> None:
        with _gate:
            if born != _forks:  # the parent's: neither used nor closed here
                return
            self._lent.discard(connection)
            if sound and connection.lasting and len(self._idle) < self._keep:
                self._idle.append(connection)
                return
        connection.close()

    def close_idle(self) -> None:
        """Close the connections that nobody uses now."""
        with _gate:
            while self._idle:
                self._idle.pop().close()

    def disown(self) -> None:
        """Forget the connections of the parent process without closing them."""
        _inherited.extend(self._lent)
        self._lent.clear()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _close_idle() -> None:
    for pool in list(_pools):
        pool.close_idle()


def _before_fork() -> None:
    _gate.acquire()
    _gate.wait_for(lambda: _running["sqlite3"] == 0, timeout=_FORK_WAIT)
    _close_idle()


def _after_in_parent() -> None:
    _gate.release()


def _after_in_child() -> None:
    global _gate, _library, _forks  # the parent's gate is held by a thread that is not here
    _gate = threading.Condition()
    _forks += 1
    for library, count in _running.items():
        if count:
            _unfit.add(library)
            _running[library] = 0
    for pool in list(_pools):
        pool.disown()
    if _library in _unfit:
        _library = "adbc" if _library == "sqlite3" else "sqlite3"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
