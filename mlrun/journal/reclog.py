r"""Append-only logs of framed records.

A file is a header and frames. A frame is `\xa5\x1e\x00`, a kind byte, length and CRC-32 (each four bytes, little
endian; the CRC covers kind and payload), then the payload. Payloads are ASCII JSON, so the mark never occurs in one,
and a reader finds its way again behind damage. The header says where a sealed file ends.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from mlrun.journal.files import pread, pwrite

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "HEADER_BYTES",
    "Damage",
    "LogBytes",
    "LogScan",
    "RecordLog",
    "begin_log",
    "pack",
    "read_log",
    "seal_log",
    "split_frames",
    "whole_frames",
]

_MAGIC = b"mlrlog1\n"
_UNSEALED = _MAGIC + bytes(16)
HEADER_BYTES = len(_UNSEALED)

_MARK = b"\xa5\x1e\x00"
_DATA, _VOID = b"D", b"V"
_FRAME = 12  # bytes before the payload

# bytes up to which a file is copied: cheaper than a mapping, and it needs no descriptor
_COPY = 256 << 10

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


class Damage(NamedTuple):
    """Bytes that are no frame: `torn` (an append that never returned), `lost` (a record was here) or `header`."""

    start: int
    end: int
    kind: str


class LogScan(NamedTuple):
    """What a log holds: `(end offset, payload)` of each record, in order.

    Attributes:
        end: offset behind the last good frame; of a sealed file, its end.
        damage: in order; `header` means that the words which say where the file ends are damaged.
    """

    records: list[tuple[int, bytes]]
    end: int
    sealed: bool
    damage: list[Damage]


# a pair of surrogates, a lone one (group 1), or any other escape
_ESCAPE = re.compile(r"\\ud[89ab]..\\ud[c-f]..|(\\ud[89a-f]..)|\\.")


def pack(value: Any) -> bytes:
    """Encode a payload; NaN and infinities are written as JavaScript names them, lone surrogates as U+FFFD.

    Raises:
        TypeError, ValueError: JSON has no form for it.
    """
    text = json.dumps(value, separators=(",", ":"), check_circular=False)
    if (
        "\\ud" in text
    ):  # no reader could take them: the text of an exception about a file name may hold one
        text = _ESCAPE.sub(lambda m: "\\ufffd" if m[1] else m[0], text)
    return text.encode("ascii")


def _frame(kind: bytes, payload: bytes) -> bytes:
    size, crc = len(payload).to_bytes(4, "little"), crc32(payload, crc32(kind))
    return b"".join((_MARK, kind, size, crc.to_bytes(4, "little"), payload))


def _seal_words(end: int) -> bytes:
    word = end.to_bytes(8, "little")
    return word + crc32(word, 1).to_bytes(8, "little")


class RecordLog:
    """The writing end of one log; the file is made by the first append. Not thread-safe.

    Attributes:
        size: offset behind the last record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.fd = -1
        self._torn = False

    def append(self, payload: bytes) -> int:
        """Write one record with one `write(2)`; returns the offset behind it.

        Raises:
            OSError: nothing was recorded. The log stays usable.
        """
        if self.fd < 0:
            self.fd = os.open(self.path, _CREATE, 0o600)
        data = _frame(_DATA, payload)
        if self._torn:  # what lies between the last good frame and here was never promised
            data = _frame(_VOID, self.size.to_bytes(8, "little")) + data
        if not self.size:
            data = _UNSEALED + data
        self._torn = True
        written = os.write(self.fd, data)
        try:
            while written < len(data):  # seldom; the rest either fits or says why it does not
                written += os.write(self.fd, data[written:])
        except OSError:
            if not self.size:
                self._begin(written)
            raise
        self.size = os.fstat(self.fd).st_size
        self._torn = False
        return self.size

    def _begin(self, written: int) -> None:
        """After a first append that failed: keep its header if it is whole."""
        if written >= HEADER_BYTES:
            self.size = HEADER_BYTES  # never cut short what a reader may have mapped
        else:
            os.ftruncate(self.fd, 0)  # half a header; no reader maps a file this small
            self._torn = False

    def close(self) -> None:
        """Close the descriptor; the file stays unsealed. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def seal(self) -> None:
        """Close for good; a log in which nothing was recorded is removed."""
        self.close()
        if self.size:
            seal_log(self.path)
        else:
            self.path.unlink(missing_ok=True)


def seal_log(path: Path) -> list[Damage]:
    """Fix where the log ends: behind its last good frame. Returns the damage seen; idempotent.

    Only the holder of the slot's flock may call this. Needs no free space: the word lies in the header.
    """
    scan = read_log(path).scan()
    if scan.sealed or not scan.end:
        return scan.damage
    fd = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        pwrite(fd, _MAGIC + _seal_words(scan.end), 0)
    finally:
        os.close(fd)
    return scan.damage


class LogBytes(NamedTuple):
    """A log as it was at one instant; `read_log` is how to get one.

    Attributes:
        head: the header as it was before the file was measured. A mapping shows the header of now: a file that is
            sealed meanwhile would seem to end behind the bytes that are here, and its tail would count as read.
        data: the file's bytes up to the length that it had then.
    """

    head: bytes
    data: bytes | mmap.mmap

    def scan(self, offset: int = 0) -> LogScan:
        """Read all records behind `offset` (0, or the end of an earlier record).

        A bad stretch with good frames behind it is skipped; without any, it is the torn tail of an append that never
        returned (or that is under way right now).
        """
        head, data = self
        size = len(data)
        if size < HEADER_BYTES:  # the very first append never returned
            return LogScan([], 0, False, [Damage(0, size, "torn")] if size else [])
        if len(head) < HEADER_BYTES:
            return LogScan([], 0, False, [])  # it was being made when we looked
        damage: list[Damage] = []
        sealed_end = _sealed_end(head)
        if sealed_end < 0:
            damage.append(Damage(0, HEADER_BYTES, "header"))
            sealed_end = 0
        if sealed_end > size:
            damage.append(Damage(size, sealed_end, "lost"))
        stop = min(size, sealed_end or size)
        tail = "lost" if sealed_end else "torn"
        records, good, bad = _frames(data, max(offset, HEADER_BYTES), stop, tail)
        return LogScan(records, sealed_end or good, bool(sealed_end), damage + bad)


def read_log(path: Path) -> LogBytes:
    """Read a log: the one way to do it, in the one order that is right while its writer lives.

    Raises:
        FileNotFoundError: it is not there (any more).
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        head = pread(fd, HEADER_BYTES, 0)
        if len(head) == HEADER_BYTES and _sealed_end(head) < 0:
            head = pread(fd, HEADER_BYTES, 0)  # perhaps it was just being sealed
        size = os.fstat(fd).st_size  # after the header: what is sealed lies whole within it
        if size > _COPY:
            return LogBytes(head, mmap.mmap(fd, size, access=mmap.ACCESS_READ))
        return LogBytes(head, pread(fd, size, 0))
    finally:
        os.close(fd)


def _frames(
    data: bytes | mmap.mmap, at: int, stop: int, tail: str
) -> tuple[list[tuple[int, bytes]], int, list[Damage]]:
    """Return the records between two offsets, where the last good frame ends, and what is no frame.

    Args:
        data: of the file.
        at: offset of the first frame.
        stop: where the records end.
        tail: kind of damage that a bad stretch at the very end is.
    """
    records: list[tuple[int, bytes]] = []
    damage: list[Damage] = []
    good = at
    while at < stop:
        frame = _frame_at(data, at, stop)
        if frame is None:
            behind = _next_frame(data, at + 1, stop)
            if behind is None:
                damage.append(Damage(at, stop, tail))
                break
            damage += _between(data, at, behind, stop)
            at = behind
            continue
        kind, payload, at = frame
        good = at
        if kind == _DATA:
            records.append((at, payload))
    return records, good, damage


def whole_frames(data: bytes, *, sealed: bool) -> bytes:
    """Return the good frames at the head of `data`, for another machine: damage between them becomes a void frame.

    Offsets stay what they were. Behind the last good frame nothing is returned, unless the file is `sealed` there.
    """
    out: list[bytes] = []
    at = void = 0  # `void` is where a stretch without records began
    while at < len(data):
        frame = _frame_at(data, at, len(data))
        if frame is None:
            behind = _next_frame(data, at + 1, len(data))
            if behind is None:
                break
            at = behind
            continue
        kind, _, end = frame
        if kind == _DATA:
            out += [_filler(at - void), data[at:end]]
            void = end
        at = end
    if sealed:
        out.append(_filler(len(data) - void))
    return b"".join(out)


def _filler(size: int) -> bytes:
    return _frame(_VOID, bytes(size - _FRAME)) if size >= _FRAME else b""


def split_frames(data: bytes | memoryview) -> list[tuple[int, bytes]]:
    """Return `(end, payload)` of each record in `data`, which is frames from end to end.

    Raises:
        ValueError: it is not.
    """
    records, at, whole = [], 0, bytes(data)
    while at < len(whole):
        frame = _frame_at(whole, at, len(whole))
        if frame is None:
            raise ValueError(f"no frame at byte {at}")
        kind, payload, at = frame
        if kind == _DATA:
            records.append((at, payload))
        elif kind != _VOID:
            raise ValueError(f"a frame of unknown kind before byte {at}")
    return records


def begin_log(path: Path) -> int:
    """Make a log without records, unless it is there; returns a descriptor to write frames at their offsets."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    if os.fstat(fd).st_size < HEADER_BYTES:
        pwrite(fd, _UNSEALED, 0)
    return fd


def _sealed_end(head: bytes) -> int:
    """Return where the file is sealed; 0 if it is not, -1 if the header is damaged."""
    if head[: len(_MAGIC)] != _MAGIC:
        return -1
    words = head[len(_MAGIC) : HEADER_BYTES]
    if not any(words):
        return 0
    end = int.from_bytes(words[:8], "little")
    return end if words == _seal_words(end) else -1


def _frame_at(data: bytes | mmap.mmap, at: int, stop: int) -> tuple[bytes, bytes, int] | None:
    head = data[at : at + _FRAME]
    if len(head) < _FRAME or head[:3] != _MARK:
        return None
    end = at + _FRAME + int.from_bytes(head[4:8], "little")
    if end > stop:
        return None
    kind, payload = head[3:4], data[at + _FRAME : end]
    if crc32(payload, crc32(kind)) != int.from_bytes(head[8:12], "little"):
        return None
    return kind, payload, end


def _next_frame(data: bytes | mmap.mmap, at: int, stop: int) -> int | None:
    while (at := data.find(_MARK, at, stop)) >= 0:
        if _frame_at(data, at, stop) is not None:
            return at
        at += 1
    return None


def _between(data: bytes | mmap.mmap, start: int, end: int, stop: int) -> list[Damage]:
    """Tell what a bad stretch before a good frame was: torn only where a void frame says so."""
    frame = _frame_at(data, end, stop)
    if frame is None or frame[0] != _VOID:
        return [Damage(start, end, "lost")]
    torn = int.from_bytes(frame[1], "little")
    if torn <= start:
        return []  # an append that failed, said so, and was not acknowledged: nothing to report
    return [Damage(start, min(torn, end), "lost")]
