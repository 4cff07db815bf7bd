"""Segments: points in fixed columns of shared memory, laid out so that the file is Arrow memory.

One page of header, then the columns `run` and `key` (u32 ids that the dictionary beside it names), `step`, `time` (i64)
and `value` (f64), each of `capacity` rows. Words are native and aligned; a file of the other byte order is refused. The
count of published rows stands in a cache line of its own and is stored last.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from mlrun.journal.files import DICT, SEGMENT, numbered, pwrite
from mlrun.journal.reclog import RecordLog, pack

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "COLUMNS",
    "COUNT_AT",
    "FENCE",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_BYTES",
    "MIN_BYTES",
    "ROW_BYTES",
    "Segment",
    "allocate",
    "bytes_for",
    "column_offsets",
]

MAGIC = b"mlrseg1\n"
VERSION = 1
HEADER_BYTES = 4096
ROW_BYTES = 32
MIN_BYTES = 64 << 10
MAX_BYTES = 8 << 20
# name, memoryview format, bytes
COLUMNS: tuple[tuple[str, Literal["I", "q", "d"], int], ...] = (
    ("run", "I", 4),
    ("key", "I", 4),
    ("step", "q", 8),
    ("time", "q", 8),
    ("value", "d", 8),
)
COUNT_AT = 512  # byte of the header where the count of published rows stands
_ROUND = 16  # rows: keeps every column on a cache line
_POPULATE_WRITE = 23  # of madvise; Linux 5.14
_READY_ROWS = 4096  # at most: it holds the interpreter for some twenty microseconds

_PLAIN_ORDER = {
    "x86_64",
    "amd64",
    "i386",
    "i686",
}  # their stores are seen in the order they were made


def _machine() -> str:
    return (
        os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    )


# Taken and released between the columns and the count, by writers and readers, where the processor may reorder stores.
FENCE: threading.Lock | None = None if _machine().lower() in _PLAIN_ORDER else threading.Lock()


def column_offsets(capacity: int) -> tuple[int, ...]:
    """Byte offset of each column of COLUMNS in a segment of that many rows."""
    offsets, at = [], HEADER_BYTES
    for _, _, width in COLUMNS:
        offsets.append(at)
        at += capacity * width
    return tuple(offsets)


def bytes_for(rows: int) -> int:
    """Size of the smallest segment that holds `rows`."""
    return HEADER_BYTES + -(-rows // _ROUND) * _ROUND * ROW_BYTES


def allocate(fd: int, size: int) -> None:
    """Give an empty file real space, all zeros.

    Raises:
        OSError: the disk, a quota or a limit does not allow it.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    zeros = bytes(1 << 20)
    at = 0
    while at < size:
        at += pwrite(fd, zeros[: size - at], at)


class Segment:
    """The writing end of one segment. Not thread-safe: its writer's lock guards it.

    Attributes:
        count: one-word view, the number of published rows.
        columns: views of the five columns. Until `widen()` the first one ends half-way, so that a writer runs into an
            IndexError when it is time to prepare the next segment, and needs not compare on every call.
        ids: key -> id, shared by all runs of the segment.
        runs: (table, project, run id) -> id.
        log: the dictionary file.
    """

    __slots__ = (
        "_views", "capacity", "columns", "count", "fd", "folder", "ids", "limit", "log", "map",
        "next_id", "number", "path", "runs", "synced",
    )  # fmt: skip

    def __init__(self, folder: Path, number: int, size: int, *, touch: bool = False) -> None:
        self.number = number
        self.folder = folder
        self.path = numbered(folder, number, SEGMENT)
        self.capacity = (size - HEADER_BYTES) // ROW_BYTES // _ROUND * _ROUND
        self.ids: dict[str, int] = {}
        self.runs: dict[tuple[str, str, str], int] = {}
        self.next_id = 1  # zeros, which no writer wrote, name nothing
        self.synced = 0
        self.log = RecordLog(numbered(folder, number, DICT))
        self.fd = os.open(
            self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600
        )
        try:
            allocate(self.fd, size)
            self.map = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            self.path.unlink(missing_ok=True)
            raise
        self._views: list[memoryview[Any]] = []
        if touch:
            self._touch()
        self._write_header()
        self._cast()

    def _touch(self) -> None:
        """Make every page present and writable while nobody waits, without holding the interpreter."""
        if sys.platform == "win32":
            return  # no such device there: the first store to each page takes a few microseconds more
        zero = os.open("/dev/zero", os.O_RDONLY)
        try:
            view = memoryview(self.map)
            try:
                os.readv(zero, [view])
            finally:
                view.release()
        finally:
            os.close(zero)

    def make_ready(self, rows: int) -> None:
        """Make the pages writable that the next `rows` go to: a sync has taken that from them.

        The first store to such a page costs the caller of `log()` microseconds, more where its caches are cold.
        """
        if sys.platform != "linux":
            return
        with suppress(OSError, ValueError):  # an older kernel, a full disk; closed meanwhile
            first = min(self.rows, self.capacity)
            rows = min(rows, self.capacity - first, _READY_ROWS)
            for (_, _, width), at in zip(COLUMNS, column_offsets(self.capacity), strict=True):
                start = (at + first * width) // mmap.PAGESIZE * mmap.PAGESIZE
                self.map.madvise(_POPULATE_WRITE, start, at + (first + rows) * width - start)

    def _write_header(self) -> None:
        words = memoryview(self.map)[:HEADER_BYTES].cast("q")
        try:
            words[1:9] = memoryview(
                b"".join(
                    w.to_bytes(8, sys.byteorder)
                    for w in (1, VERSION, self.capacity, *column_offsets(self.capacity))
                )
            ).cast("q")
            words[0] = int.from_bytes(MAGIC, sys.byteorder)
        finally:
            words.release()

    def _cast(self) -> None:
        base = memoryview(self.map)
        self.count: memoryview[Any] = base[COUNT_AT : COUNT_AT + 8].cast("q")
        views: list[memoryview[Any]] = []
        for (_, kind, width), at in zip(COLUMNS, column_offsets(self.capacity), strict=True):
            span = base[at : at + width * self.capacity]
            views.append(span.cast("d") if kind == "d" else span.cast(kind))
        self.limit = self.capacity // 2
        half = views[0][: self.limit]
        self.columns: tuple[memoryview[Any], ...] = (half, *views[1:])
        self._views = [self.count, half, *views, base]

    @property
    def rows(self) -> int:
        """Number of published rows."""
        return int(self.count[0])

    def widen(self) -> None:
        """Open the second half."""
        self.limit = self.capacity
        self.columns = (self._views[2], *self.columns[1:])

    def define(self, run: tuple[str, str, str], keys: list[str]) -> int:
        """Give ids to a run and to new keys; they are in the dictionary file when this returns. Returns the run's id.

        Raises:
            OSError: the dictionary could not be written; no id was given.
        """
        entries: list[list[Any]] = []
        run_id = self.runs.get(run)
        if run_id is None:
            run_id = self._take_id()
            entries.append(["r", run_id, *run])
        new = {k: self._take_id() for k in dict.fromkeys(keys) if k not in self.ids}
        entries += [["k", i, k] for k, i in new.items()]
        if entries:
            self.log.append(pack(entries))
            self.ids.update(new)
            self.runs[run] = run_id
        return run_id

    def _take_id(self) -> int:
        # counted before it is written: an id whose entry may be on disk already is never given again
        taken, self.next_id = self.next_id, self.next_id + 1
        return taken

    def close(self) -> None:
        """Let go of memory and descriptors; the files stay as they are. Idempotent."""
        for view in self._views:
            view.release()
        self._views = []
        self.map.close()
        self.log.close()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def discard(self) -> None:
        """Close a segment in which nothing was published, and remove its files."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.log.path.unlink(missing_ok=True)


def _renew_after_fork() -> None:
    global FENCE  # another thread of the parent may have held it at the fork
    if FENCE is not None:
        FENCE = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
