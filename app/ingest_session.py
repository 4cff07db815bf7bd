"""What a gateway knows of one writer elsewhere, and whether a part of it can be taken now."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.contracts import Mark
from mlrun.errors import UploadRefused
from mlrun.ids import now_us
from mlrun.journal.files import DICT, LOG, TEXT
from mlrun.journal.reclog import HEADER_BYTES, split_frames
from mlrun.journal.upload import START
from mlrun.tables import METRICS, SYSTEM_METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.journal.upload import Part, Positions

__all__ = ["Session", "known_ids", "read_lines", "read_names", "read_records", "skip_of"]

_MAX_ID = 1_000_000  # of a run or key in one segment: readers make tables of this size
_MAX_TEXT = 16_384  # characters of a name
_POINTS = (METRICS.name, SYSTEM_METRICS.name)
_FRAMED = (LOG, TEXT, DICT)
_NONE = np.empty(0, np.uint64)


@dataclass
class Session:
    """One writer.

    Attributes:
        writer, claim, host: as its uploader says.
        positions: what has arrived; while a commit is under way, what will have.
        record: its mark for records: `log` and `offset`, and in `segment` the token that it is bound to.
        base, slot: where it goes on, see `app.ingest_mirror`.
        alive: whether its uploader says so; `heard` (monotonic) and `heard_us`: when it last did.
        silenced: its runs may have been taken for lost; `lost`: they have been, by this session.
        stale: what has arrived must be found out anew.
        runs: some of those whose points it brought; `projects`: theirs.
        passed: number of a segment, and the ids of run and key that the guard has let through in it.
        extra: what the way of storing remembers.
    """

    writer: str
    claim: int
    host: str
    positions: Positions = field(default_factory=lambda: dict(START))
    record: Mark = field(default_factory=Mark)
    base: Mark = field(default_factory=Mark)
    slot: str = ""
    alive: bool = True
    heard: float = field(default_factory=time.monotonic)
    heard_us: int = field(default_factory=now_us)
    silenced: bool = True
    lost: bool = False
    stale: bool = False
    runs: set[str] = field(default_factory=set)
    projects: set[str] = field(default_factory=set)
    passed: tuple[int, np.ndarray[Any, Any]] = field(default_factory=lambda: (-1, _NONE))
    extra: dict[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, list[int]]:
        """Return the positions as an answer has them."""
        return {kind[1:]: list(at) for kind, at in self.positions.items()}


def skip_of(session: Session, part: Part) -> int | None:
    """Return how many rows or bytes of a part have arrived before; None if it begins behind what has.

    A part that has arrived whole is skipped whole.
    """
    number, at = session.positions[part.kind]
    whole = part.last - part.first
    if part.end() <= (number, at):
        return whole
    start = HEADER_BYTES if part.kind in _FRAMED else 0
    if part.number > number:
        begins = part.first <= start and (not at or part.kind == DICT)
        return 0 if begins else None
    if part.first > max(at, start):
        return None
    skip = max(at, start) - part.first if at else 0
    if skip > whole:
        raise UploadRefused("a file is said to end before what has arrived of it")
    return skip


def _frames(part: Part, skip: int) -> list[tuple[int, bytes]]:
    try:
        return split_frames(part.payload[skip:])
    except ValueError as error:
        raise UploadRefused(f"a log is not made of whole records: {error}") from None


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        raise UploadRefused("a record is no JSON") from None


def read_records(part: Part, skip: int) -> Iterator[tuple[int, list[Any]]]:
    """Iterate over (offset behind it, operations) of each record."""
    for end, payload in _frames(part, skip):
        ops = _decoded(payload)
        if not isinstance(ops, list) or not all(_is_op(op) for op in ops):
            raise UploadRefused("a record is a list of operations")
        yield part.first + skip + end, [(verb, table, row) for verb, table, row in ops]


def _is_op(op: Any) -> bool:
    if not isinstance(op, list) or len(op) != 3:
        return False
    verb, table, row = op
    if not (isinstance(verb, str) and isinstance(table, str) and isinstance(row, dict)):
        return False
    return not any(isinstance(value, str) and "\0" in value for value in row.values())


def read_names(part: Part, skip: int) -> Iterator[tuple[str, str]]:
    """Iterate over (project, run id) of the runs that a dictionary names.

    Raises:
        UploadRefused: it names something else, or with numbers that no writer gives.
    """
    for _, payload in _frames(part, skip):
        entries = _decoded(payload)
        if not isinstance(entries, list):
            raise UploadRefused("a dictionary is a list of names")
        for entry in entries:
            yield from _read_name(entry)


def _read_name(entry: Any) -> Iterator[tuple[str, str]]:
    match entry:
        case ["r", int(number), str(table), str(project), str(run_id)] if table in _POINTS:
            texts = [project, run_id]
        case ["k", int(number), str(key)]:
            texts = [key]
        case _:
            raise UploadRefused("a dictionary names runs and keys")
    if not 0 < number <= _MAX_ID or not all(_is_text(text) for text in texts):
        raise UploadRefused("a dictionary has a number or a name beyond all bounds")
    if entry[0] == "r":
        yield entry[3], entry[4]


def read_lines(part: Part, skip: int) -> Iterator[tuple[int, str, str, list[Any]]]:
    """Iterate over (offset behind it, project, run id, lines) of each record of the console."""
    for end, payload in _frames(part, skip):
        match _decoded(payload):
            case [str(project), str(run_id), list(lines)] if (
                _is_text(project) and _is_text(run_id) and all(_is_line(line) for line in lines)
            ):
                yield part.first + skip + end, project, run_id, lines
            case _:
                raise UploadRefused("a record of the console is a project, a run and lines")


def _is_line(line: Any) -> bool:
    match line:
        case [int(time), str(), str()]:
            return -(1 << 62) < time < 1 << 62
    return False


def _is_text(text: str) -> bool:
    """Whether every store can hold it, and it is no longer than a name may be."""
    return len(text) <= _MAX_TEXT and "\0" not in text and (text.isascii() or _is_utf8(text))


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def known_ids(names: Mapping[int, Any], ids: np.ndarray) -> np.ndarray:
    """Return which of the ids have a name."""
    flags = np.zeros(max(names, default=0) + 2, np.bool_)
    flags[list(names)] = True
    known: np.ndarray = np.take(flags, ids, mode="clip")
    return known
