"""Files of mirrored slots: made by system calls, for a gateway fills many and maps none; and read for positions."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.contracts import Mark
from mlrun.errors import StoreBusy
from mlrun.journal import reclog
from mlrun.journal.files import SEGMENT, TEXT, list_numbers, numbered, pwrite
from mlrun.journal.reclog import read_log
from mlrun.journal.sealing import SegmentDamage, read_head
from mlrun.journal.segment import (
    COLUMNS,
    HEADER_BYTES,
    MAGIC,
    ROW_BYTES,
    VERSION,
    allocate,
    column_offsets,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.journal.upload import At, Part

__all__ = ["columns_of", "drop_unused", "last_segment", "last_text", "make_segment", "slot_of"]


def make_segment(path: Path, capacity: int) -> None:
    """Make a segment without rows; its first word is written last, and makes it one.

    Raises:
        OSError: there is no room; nothing is left behind.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        allocate(fd, HEADER_BYTES + capacity * ROW_BYTES)
        words = (1, VERSION, capacity, *column_offsets(capacity))
        pwrite(fd, b"".join(w.to_bytes(8, sys.byteorder) for w in words), 8)
        pwrite(fd, MAGIC, 0)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def drop_unused(folder: Path) -> None:
    """Remove open segments in which nothing was published: sealed, they would count as files that arrived whole."""
    for number in list_numbers(folder)[SEGMENT]:
        path = numbered(folder, number, SEGMENT)
        fd = os.open(path, os.O_RDONLY)
        try:
            head, _ = read_head(fd)
        except SegmentDamage:
            continue  # told by whoever reads
        finally:
            os.close(fd)
        if not head.sealed and not head.rows:
            path.unlink()


def slot_of(writer: str, base: Mark) -> str:
    """Return the slot in which a writer goes on from a base."""
    if base == Mark():
        return writer
    text = "/".join([writer, *map(str, base)])
    return f"w-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def last_segment(folder: Path, numbers: list[int], base: Mark) -> At | None:
    """Return the position that the files of a slot stand for; None if there are none."""
    for number in reversed(numbers):
        fd = os.open(numbered(folder, number, SEGMENT), os.O_RDONLY)
        try:
            head, _ = read_head(fd)
        except SegmentDamage as error:
            raise StoreBusy(f"the gateway's copy of a segment is damaged: {error}") from error
        finally:
            os.close(fd)
        if head.sealed:
            return number + 1, 0
        if head.used:
            return number, head.rows + (base.row if number == base.segment else 0)
        numbered(folder, number, SEGMENT).unlink()  # a gateway died while it made it
    return None


def last_text(folder: Path, numbers: list[int], base: Mark) -> At | None:
    """Return the same of its console logs."""
    for number in reversed(numbers):
        scan = read_log(numbered(folder, number, TEXT)).scan()
        if scan.sealed:
            return number + 1, 0
        shift = base.offset - reclog.HEADER_BYTES if number == base.log and base.offset else 0
        return number, max(scan.end, reclog.HEADER_BYTES) + shift
    return None


def columns_of(part: Part) -> list[np.ndarray[Any, Any]]:
    """Return the columns of rows that arrived, without a copy."""
    out, at, count = [], 0, part.last - part.first
    kinds = {"I": np.uint32, "q": np.int64, "d": np.float64}
    for _, kind, width in COLUMNS:
        out.append(np.frombuffer(part.payload, kinds[kind], count, at))
        at += count * width
    return out
