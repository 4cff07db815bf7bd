"""What is new in a slot, cut into parts. Reads files only; loads nothing heavy."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mlrun.journal import segment as _segment
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT, list_numbers, numbered, pread
from mlrun.journal.reclog import HEADER_BYTES, read_log, split_frames, whole_frames
from mlrun.journal.sealing import SegmentDamage, damaged_blocks, read_head
from mlrun.journal.segment import COLUMNS, ROW_BYTES, column_offsets
from mlrun.journal.upload import START, Part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from mlrun.journal.sealing import Head
    from mlrun.journal.upload import At, Positions

__all__ = ["Cut", "arrived", "cut_slot", "end_of", "forget_arrived", "read_part"]


class Cut(NamedTuple):
    """Parts of one slot, in the order in which they are sent; `more` is left for the next upload."""

    parts: list[Part]
    more: bool


def cut_slot(folder: Path, after: Positions, budget: int, *, hold: Collection[bytes] = ()) -> Cut:
    """Cut what lies behind the positions.

    Logs are read before segments: of a run that is recorded as ended, every point is in the same upload or came before.

    Args:
        folder: the slot.
        after: positions; what lies before has arrived.
        budget: bytes of payload, about; one frame or row at least.
        hold: hashes of objects that have not arrived: no record that names one is cut, nor any behind it.
    """
    found = list_numbers(folder)
    if not any(found.values()):
        return Cut([], False)
    logs = list(_cut_logs(folder, LOG, found[LOG], after, budget, hold))
    left = budget - _bytes(logs)
    points, more = _cut_points(folder, list_numbers(folder)[SEGMENT], after, left)
    texts = list(_cut_logs(folder, TEXT, found[TEXT], after, max(1, left - _bytes(points)), ()))
    return Cut([*points, *texts, *logs], more or _bytes([*points, *texts, *logs]) >= budget)


def _bytes(parts: list[Part]) -> int:
    return sum(len(p.payload) for p in parts)


def _cut_logs(
    folder: Path,
    kind: str,
    numbers: list[int],
    after: Positions,
    budget: int,
    hold: Collection[bytes],
) -> Iterator[Part]:
    done, at = after[kind]
    lost = bool(at) and done not in numbers
    for number in numbers:
        if number < done:
            continue
        start = max(at if number == done else 0, HEADER_BYTES)
        data, sealed = _read_frames(folder, number, kind, start)
        kept = _within(data, budget, hold)
        final = sealed and kept == len(data)
        if kept or final:
            end = start + kept
            yield Part(folder.name, kind, number, start, end, final, gap=lost, payload=data[:kept])
            lost = False
        budget -= kept
        if not final or budget <= 0:
            return  # the next file begins when this one has ended


def _read_frames(folder: Path, number: int, kind: str, start: int) -> tuple[bytes, bool]:
    """Return whole frames of a log from an offset on, and whether they end with a sealed file."""
    try:
        log = read_log(numbered(folder, number, kind))
    except FileNotFoundError:
        return b"", False
    if len(log.head) < HEADER_BYTES or len(log.data) < start:
        return b"", False
    seal = int.from_bytes(log.head[8:16], "little") if any(log.head[8:]) else 0
    stop = min(seal, len(log.data)) if seal else len(log.data)
    data = whole_frames(log.data[start:stop], sealed=bool(seal))
    return data, bool(seal)


def _within(data: bytes, budget: int, hold: Collection[bytes]) -> int:
    """Return how many bytes of these frames may be sent now."""
    if len(data) <= budget and not any(h in data for h in hold):
        return len(data)
    kept = 0
    for end, payload in split_frames(data):
        if (kept and end > budget) or any(h in payload for h in hold):
            return kept
        kept = end
    return len(data)


def _cut_points(
    folder: Path, numbers: list[int], after: Positions, budget: int
) -> tuple[list[Part], bool]:
    parts: list[Part] = []
    done, at = after[SEGMENT]
    lost = bool(at) and done not in numbers
    for number in numbers:
        if number < done:
            continue
        if budget <= 0:
            return parts, True
        with _opened(numbered(folder, number, SEGMENT)) as (fd, head):
            if head is None or not head.used or not (head.rows or head.sealed):
                continue  # prepared, or absorbed by nobody: removed
            first = min(at, head.rows) if number == done else 0
            last = min(head.rows, first + max(1, budget // ROW_BYTES))
            names, named = _cut_names(folder, number, after)
            final = head.sealed and last == head.rows
            if last > first or final:
                parts += names
                payload = _rows(fd, head, first, last)
                parts.append(
                    Part(
                        folder.name, SEGMENT, number, first, last, final, head.capacity, named, lost, payload
                    )
                )  # fmt: skip
                budget -= len(payload) + _bytes(names)
                lost = False
            if not final:
                return parts, last < head.rows
    return parts, False


def _cut_names(folder: Path, number: int, after: Positions) -> tuple[list[Part], int]:
    """Cut the new names of a segment whose count was just read: what names its rows was written before them.

    Returns:
        The part, and where the dictionary ends with it.
    """
    done, at = after[DICT]
    start = max(at if done == number else 0, HEADER_BYTES)
    try:
        log = read_log(numbered(folder, number, DICT))
    except FileNotFoundError:
        return [], 0
    data = whole_frames(log.data[start:], sealed=False) if len(log.data) > start else b""
    end = start + len(data)
    return ([Part(folder.name, DICT, number, start, end, payload=data)] if data else []), end


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, Head | None]]:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        yield -1, None
        return
    try:
        try:
            head, _ = read_head(fd)
        except SegmentDamage:
            yield fd, None  # told by whoever looks: `mlrun doctor`
            return
        if _segment.FENCE is not None:
            with _segment.FENCE:
                pass  # the count was read; the columns come after it
        yield fd, head
    finally:
        os.close(fd)


def _rows(fd: int, head: Head, first: int, last: int) -> bytes:
    """Return rows as columns; those that the disk has changed name nothing."""
    columns = []
    for (_, _, width), at in zip(COLUMNS, column_offsets(head.capacity), strict=True):
        columns.append(pread(fd, (last - first) * width, at + first * width))
    if head.sealed and last > first:
        for start, end in damaged_blocks(fd, head):
            a, b = max(start, first) - first, min(end, last) - first
            if a < b:
                runs = bytearray(columns[0])
                runs[4 * a : 4 * b] = bytes(4 * (b - a))
                columns[0] = bytes(runs)
    return b"".join(columns)


def read_part(journal: Path, part: Part) -> Part | None:
    """Read the payload of a part whose bounds are known; None if the file no longer holds it."""
    folder = journal / part.writer
    payload: bytes
    if part.kind == SEGMENT:
        with _opened(numbered(folder, part.number, SEGMENT)) as (fd, head):
            if head is None or head.rows < part.last:
                return None
            payload = _rows(fd, head, part.first, part.last)
    else:
        try:
            log = read_log(numbered(folder, part.number, part.kind))
        except FileNotFoundError:
            return None
        payload = whole_frames(log.data[part.first : part.last], sealed=True)
        if len(payload) != part.last - part.first:
            return None
    return Part.of(part.bounds(), payload)


def end_of(folder: Path) -> Positions:
    """Return the positions behind everything that a slot holds now."""
    ends = dict(START)
    found = list_numbers(folder)
    for kind in (LOG, TEXT, SEGMENT):
        for number in reversed(found[kind]):
            end = _end_of_file(folder, number, kind)
            if end is not None:
                ends[kind] = end
                break
    return ends


def _end_of_file(folder: Path, number: int, kind: str) -> At | None:
    path = numbered(folder, number, kind)
    if kind == SEGMENT:
        with _opened(path) as (_, head):
            return (number, head.rows) if head is not None and head.rows else None
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    if size <= HEADER_BYTES:
        return None
    return number, read_log(path).scan().end


def arrived(ends: Positions, have: Positions) -> bool:
    """Whether everything before `ends` lies before `have`."""
    return all(have[kind] >= ends[kind] for kind in (LOG, TEXT, SEGMENT))


def forget_arrived(folder: Path, have: Positions) -> int:
    """Unlink the files of a slot that have arrived whole; returns how many."""
    gone = 0
    for kind, numbers in list_numbers(folder).items():
        whole = have[SEGMENT if kind == DICT else kind][0]
        for number in numbers:
            if number < whole:  # a segment goes before its dictionary
                numbered(folder, number, kind).unlink(missing_ok=True)
                gone += 1
    return gone
