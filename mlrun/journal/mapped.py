"""The reading end of a slot's files: opened once, readable also after they are unlinked."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from json import loads
from typing import TYPE_CHECKING, Any, NamedTuple

from mlrun.journal import segment as _segment
from mlrun.journal.files import DICT, numbered, pread
from mlrun.journal.reclog import LogScan, read_log
from mlrun.journal.sealing import Head, SegmentDamage, damaged_blocks, read_head
from mlrun.journal.segment import COLUMNS, column_offsets

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MappedSegment", "Names"]

_COPY = (
    256 << 10
)  # bytes up to which a file is copied: cheaper than a mapping, and it needs no descriptor


class Names(NamedTuple):
    """A segment's dictionary: ids to `(table, project, run id)`, and ids to keys."""

    runs: dict[int, tuple[str, str, str]]
    keys: dict[int, str]


class Dictionary(NamedTuple):
    """A dictionary as it was read: names, the scan (without its records), and the file's time of change."""

    names: Names
    scan: LogScan
    stamp: int


_KEPT = 256  # dictionaries that a process remembers
_dictionaries: dict[str, Dictionary] = {}


class MappedSegment:
    """A segment and its dictionary as they were when this was made.

    Attributes:
        rows: published then (and within the file, if something cut it off).
        bad: row ranges whose bytes are not what was sealed; looked for only on request.
    """

    def __init__(self, path: Path, number: int, *, verify: bool = False) -> None:
        """Open the files.

        Raises:
            FileNotFoundError: the segment is not there (any more).
            SegmentDamage: its header is not readable.
        """
        self.path = path
        self.number = number
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            found, size = read_head(fd)
            self.head: Head = found
            if _segment.FENCE is not None:
                with _segment.FENCE:
                    pass  # the count was read; the columns come after it
            self.rows = self.head.rows
            self._map: mmap.mmap | None = None
            self._copies: list[bytes] = []
            self._open_columns(fd, size)
            self.bad = damaged_blocks(fd, self.head) if verify and self.head.sealed else []
        finally:
            os.close(fd)
        # after the count: what names the rows was written before they were published
        self.dictionary = read_dictionary(numbered(path.parent, number, DICT), afresh=verify)

    def _open_columns(self, fd: int, size: int) -> None:
        if not self.rows:
            return
        if size > _COPY:
            self._map = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
            return
        spans = zip(COLUMNS, column_offsets(self.head.capacity), strict=True)
        self._copies = [pread(fd, self.rows * width, at) for (_, _, width), at in spans]

    def still_unused(self) -> bool:
        """Look again whether a writer is still preparing the file (or whether its content is gone)."""
        try:
            with open(self.path, "rb") as file:
                return not read_head(file.fileno())[0].used
        except (OSError, SegmentDamage):
            return False  # absorbed meanwhile, or damaged otherwise

    def column(self, index: int) -> tuple[bytes | mmap.mmap, int]:
        """Return the buffer that holds column `index` of COLUMNS, and where in it the column starts."""
        if self._map is not None:
            return self._map, column_offsets(self.head.capacity)[index]
        return self._copies[index], 0

    def views(self) -> list[memoryview[Any]]:
        """Return the published part of every column as a typed view."""
        out: list[memoryview[Any]] = []
        for i, (_, kind, width) in enumerate(COLUMNS):
            buffer, at = self.column(i)
            span = memoryview(buffer)[at : at + self.rows * width]
            out.append(span.cast("d") if kind == "d" else span.cast(kind))
        return out

    @property
    def names(self) -> Names:
        """What the ids of its rows mean."""
        return self.dictionary.names


def read_dictionary(path: Path, *, afresh: bool = False) -> Dictionary:
    """Read a segment's dictionary; a process that reads it again pays only for what was added since.

    Args:
        path: of the file; one that is not there is empty.
        afresh: read all of it, whatever was read before.
    """
    try:
        stamp = os.stat(path).st_mtime_ns
        log = read_log(path)
    except FileNotFoundError:
        return Dictionary(Names({}, {}), LogScan([], 0, False, []), 0)
    key = os.fspath(path)
    known = None if afresh else _dictionaries.get(key)
    if known is not None and known.stamp != stamp and len(log.data) <= known.scan.end:
        known = None  # it was changed, not added to
    if known is None or known.scan.damage or known.scan.end > len(log.data):
        known = Dictionary(Names({}, {}), LogScan([], 0, False, []), stamp)
    scan = log.scan(known.scan.end)
    names = _extended(known.names, scan.records) if scan.records else known.names
    found = Dictionary(names, scan._replace(records=[], end=max(scan.end, known.scan.end)), stamp)
    _dictionaries[key] = found  # one store: threads that race here read the same bytes
    if len(_dictionaries) > _KEPT:
        with suppress(RuntimeError, StopIteration):  # another thread adds or removes one just now
            _dictionaries.pop(next(iter(_dictionaries)), None)
    return found


def _extended(names: Names, records: list[tuple[int, bytes]]) -> Names:
    """Add records. Of an id that was given twice the later name holds: the first was never used."""
    runs, keys = dict(names.runs), dict(names.keys)
    for _, payload in records:
        for kind, number, *words in loads(payload):
            if kind == "r":
                runs[number] = (words[0], words[1], words[2])
            else:
                keys[number] = words[0]
    return Names(runs, keys)
