"""Sealing and checking segments, through the file: for rolling writers, adopters and doctors.

The seal is a block of words in the header: the count of rows, a CRC of every block of every column, a CRC of these
words, and last the flag.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from mlrun.journal.files import pread, pwrite
from mlrun.journal.segment import (
    COLUMNS,
    COUNT_AT,
    HEADER_BYTES,
    MAGIC,
    column_offsets,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Head", "SegmentDamage", "damaged_blocks", "read_head", "seal_segment"]

_SEALED_AT = 128  # flag, rows, CRC of rows and table: one word each
_LOST_AT = 152  # published rows that were gone when it was sealed, and the CRC of that word
_TABLE_AT = 1024
_BLOCKS = 128  # of one column, at most
_FLAG = 0x5EA1ED


class SegmentDamage(ValueError):
    """The header of a segment is not what a writer wrote."""


class Head(NamedTuple):
    """What the header of a segment says.

    Attributes:
        rows: published rows that the file has room for.
        claimed: published rows according to the header.
        used: False for a file that a writer was still preparing.
        crcs: of each column's blocks; empty unless sealed.
        seal_damaged: it was sealed, and the seal cannot be trusted.
        cut: published rows that the file had lost when it was sealed.
    """

    capacity: int
    rows: int
    claimed: int
    sealed: bool
    used: bool
    crcs: tuple[int, ...]
    seal_damaged: bool = False
    cut: int = 0


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], sys.byteorder)


def block_rows(rows: int) -> int:
    """Rows of one block of a segment sealed with `rows`."""
    return max(512, -(-rows // _BLOCKS))


def read_head(fd: int) -> tuple[Head, int]:
    """Return what the header of a segment says, and the length of the file: the one way to read either.

    The header comes first. A segment gets its space before its header; measured the other way round, one that is made
    and filled in between would seem to have lost its columns.

    Raises:
        SegmentDamage: it is no header.
    """
    head = pread(fd, HEADER_BYTES, 0)
    size = os.fstat(fd).st_size
    return _parse_head(head, size), size


def _parse_head(head: bytes, file_bytes: int) -> Head:
    if len(head) < HEADER_BYTES and any(head):
        raise SegmentDamage(f"the header is cut off after {file_bytes} bytes")
    if not any(head[:8]) and not any(head[COUNT_AT : COUNT_AT + 8]):
        return Head(0, 0, 0, False, False, ())  # the magic is what a new segment gets last
    if head[:8] != MAGIC:
        raise SegmentDamage("this is no segment, or its header is damaged")
    if _word(head, 8) != 1:
        raise SegmentDamage("written on a machine with the other byte order")
    if _word(head, 16) != 1:
        raise SegmentDamage(f"version {_word(head, 16)} of the format is not known")
    capacity = _word(head, 24)
    offsets = tuple(_word(head, 32 + 8 * i) for i in range(len(COLUMNS)))
    if offsets != column_offsets(capacity):
        raise SegmentDamage("the header is damaged: columns are not where they must be")
    claimed = _word(head, COUNT_AT)
    flag, rows, crc = (_word(head, _SEALED_AT + 8 * i) for i in range(3))
    crcs: tuple[int, ...] = ()
    sealed = damaged = False
    cut = 0
    if flag:
        table = head[_TABLE_AT : _TABLE_AT + 4 * _BLOCKS * len(COLUMNS)]
        sealed = flag == _FLAG and crc == _seal_crc(rows, table)
        damaged = not sealed
        if sealed:
            claimed, crcs, cut = rows, _crc_table(table, rows), _checked(head, _LOST_AT)
    if claimed > capacity:
        raise SegmentDamage(f"the header is damaged: {claimed} rows in a segment of {capacity}")
    fits = _rows_that_fit(capacity, file_bytes)
    return Head(capacity, min(claimed, fits), claimed, sealed, True, crcs, damaged, cut)


def _checked(head: bytes, at: int) -> int:
    """Return a word that its CRC follows; 0 if the two do not fit."""
    word = head[at : at + 8]
    return _word(head, at) if _word(head, at + 8) == crc32(word) else 0


def _with_check(word: int) -> bytes:
    data = word.to_bytes(8, sys.byteorder)
    return data + crc32(data).to_bytes(8, sys.byteorder)


def _rows_that_fit(capacity: int, file_bytes: int) -> int:
    spans = zip(COLUMNS, column_offsets(capacity), strict=True)
    return max(0, min((file_bytes - at) // width for (_, _, width), at in spans))


def _crc_table(table: bytes, rows: int) -> tuple[int, ...]:
    n = -(-rows // block_rows(rows)) * len(COLUMNS)
    return tuple(int.from_bytes(table[4 * i : 4 * i + 4], sys.byteorder) for i in range(n))


def _seal_crc(rows: int, table: bytes) -> int:
    return crc32(table, crc32(rows.to_bytes(8, sys.byteorder)))


def _column_crcs(fd: int, capacity: int, rows: int) -> list[int]:
    block, crcs = block_rows(rows), []
    for (_, _, width), at in zip(COLUMNS, column_offsets(capacity), strict=True):
        for first in range(0, rows, block):
            n = min(block, rows - first)
            crcs.append(crc32(pread(fd, n * width, at + first * width)))
    return crcs


def seal_segment(path: Path) -> Head:
    """Fix the rows of a segment; idempotent. Only its writer, or who holds the dead writer's flock, may call this.

    A file that its writer was still preparing is left as it is.

    Raises:
        SegmentDamage: the header is not readable; nothing was changed.
    """
    fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    try:
        head, _ = read_head(fd)
        if head.sealed or not head.used:
            return head
        rows = head.rows
        crcs = _column_crcs(fd, head.capacity, rows)
        table = b"".join(c.to_bytes(4, sys.byteorder) for c in crcs)
        table = table.ljust(4 * _BLOCKS * len(COLUMNS), b"\0")
        pwrite(fd, table, _TABLE_AT)
        pwrite(fd, _with_check(head.claimed - rows), _LOST_AT)
        words = b"".join(w.to_bytes(8, sys.byteorder) for w in (rows, _seal_crc(rows, table)))
        pwrite(fd, words, _SEALED_AT + 8)
        pwrite(fd, _FLAG.to_bytes(8, sys.byteorder), _SEALED_AT)
        sealed, _ = read_head(fd)
        return sealed._replace(seal_damaged=head.seal_damaged)
    finally:
        os.close(fd)


def damaged_blocks(fd: int, head: Head) -> list[tuple[int, int]]:
    """Return the row ranges of a sealed segment whose bytes are not what was sealed."""
    block = block_rows(head.claimed)
    found = _column_crcs(fd, head.capacity, head.claimed)
    n = -(-head.claimed // block)
    bad = sorted({i % n for i, (a, b) in enumerate(zip(found, head.crcs, strict=True)) if a != b})
    return [(i * block, min((i + 1) * block, head.claimed)) for i in bad]
