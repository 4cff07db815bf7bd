"""What a reader sees of a journal: everything that was published when it looked, whatever happens to the files after.

Importing this module, listing and `ops` load no heavy library; `points` and `text` load pyarrow and NumPy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from mlrun.contracts import Finding, Mark
from mlrun.journal.files import LOG, SEGMENT, TEXT, list_numbers, list_slots, numbered
from mlrun.journal.mapped import MappedSegment
from mlrun.journal.reclog import LogBytes, LogScan, pack, read_log
from mlrun.journal.sealing import SegmentDamage
from mlrun.journal.slots import Owner, probe_alive, read_owner, where_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from mlrun.contracts import Op

__all__ = [
    "JournalSnapshot",
    "LogInfo",
    "SegmentInfo",
    "WriterInfo",
    "read_journal",
]


class SegmentInfo(NamedTuple):
    """A segment: `rows` published; sealed when it will get no more."""

    number: int
    rows: int
    sealed: bool


class LogInfo(NamedTuple):
    """A log: `bytes` up to the end of its last good record; sealed when it will get no more."""

    number: int
    bytes: int
    sealed: bool


_FEW_RUNS = 16  # whose names are looked for in the bytes of console records


@dataclass
class WriterInfo:
    """One writer slot.

    Attributes:
        name, folder: of the slot.
        alive: a process holds it.
        claim: how often it was claimed; 0 if that is not readable.
        host: of the process that claimed it last.
        segments, logs, texts: its files by number.
        unread: by kind, the lowest number of a file that is there and could not be opened.
    """

    name: str
    folder: Path
    alive: bool
    claim: int
    host: str
    segments: list[SegmentInfo] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    opened: dict[str, list[_Log]] = field(default_factory=dict, repr=False)

    @cached_property
    def logs(self) -> list[LogInfo]:
        """Its record logs; read whole when first asked for."""
        return [_log_info(log) for log in self.opened[LOG]]

    @cached_property
    def texts(self) -> list[LogInfo]:
        """Its console logs; read whole when first asked for."""
        return [_log_info(log) for log in self.opened[TEXT]]

    def may_pass(self, kind: str, number: int) -> bool:
        """Whether a mark may cover this file and all below: not if one of them was passed over, to be read later."""
        return number < self.unread.get(kind, number + 1)


def read_journal(folder: Path, *, verify: bool = False) -> JournalSnapshot:
    """List and open everything. Call it before opening a snapshot of any store.

    Args:
        folder: the journal; an absent one is empty.
        verify: compare sealed segments with their CRCs; blocks that differ are left out and told in `findings`.
    """
    snapshot = JournalSnapshot(folder)
    for slot in list_slots(folder):
        snapshot._open_slot(slot, verify=verify)
    return snapshot


class _Log:
    """A log's bytes as they were, read on demand."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self.number = number
        self._bytes: LogBytes = read_log(path)
        self._scan: LogScan | None = None

    def scan(self, offset: int = 0) -> LogScan:
        """Scan from an offset; whole scans are kept."""
        if offset:
            return self._bytes.scan(offset)
        if self._scan is None:
            self._scan = self._bytes.scan()
        return self._scan


class JournalSnapshot:
    """The journal as it was read. Not thread-safe.

    Attributes:
        folder: the journal.
        writers: every slot, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, WriterInfo] = {}
        self._segments: dict[str, list[MappedSegment]] = {}
        self._logs: dict[str, dict[str, list[_Log]]] = {}
        self._findings: dict[tuple[str, str], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        """Damage met so far; `ops`, `points` and `text` add to it."""
        return list(self._findings.values())

    def ops(self, marks: Mapping[str, Mark]) -> Iterator[tuple[str, Mark, list[Op]]]:
        """Iterate over the records past the marks: (writer, the mark that covers this record, operations).

        Writers come by name, the records of each in order. At the end of a sealed log comes one more mark, without
        operations, if its last record does not reach there. Damaged records are left out and told in `findings`.
        """
        for writer, logs in self._logs.items():
            done = marks.get(writer, Mark())
            for log in logs[LOG]:
                if log.number < done.log:
                    continue
                start = done.offset if log.number == done.log else 0
                at = start
                scan = log.scan(start)
                self._tell(log.path, scan, alive=self.writers[writer].alive)
                for at, payload in scan.records:
                    ops = [(verb, table, row) for verb, table, row in json.loads(payload)]
                    yield writer, done._replace(log=log.number, offset=at), ops
                if scan.sealed and at < scan.end:
                    yield writer, done._replace(log=log.number, offset=scan.end), []

    def points(
        self,
        table: str,
        *,
        after: Mapping[str, int] | Mapping[str, Mark],
        upto: Mapping[str, int] | None = None,
        run_ids: Collection[str] | None = None,
        keys: Collection[str] | None = None,
    ) -> pa.Table:
        """Return points past the marks: the columns of METRICS, text as `dictionary<int32, string>`.

        Rows come in the order of writing within each writer. Segments that have none of the runs and keys cost nothing;
        where all rows of a segment match, step, time and value are its own memory.

        Args:
            table: `metrics` or `system_metrics`.
            after: a segment number (it and lower ones are covered) or a `Mark` (rows of its segment are covered), by
                writer; writers that are not named have nothing covered.
            upto: the highest segment wanted of each writer (none of writers that are not named); None for all.
            run_ids: only points of these runs; None for all.
            keys: only these keys; None for all.
        """
        from mlrun.journal.arrow import PointTable

        out = PointTable(table, run_ids, keys)
        for writer, seg, first in self._past(after, upto):
            wrong = out.add(writer, seg, first)
            if wrong:
                self._add("lost", seg.path, f"{wrong} points have ids that the dictionary lacks")
        return out.table()

    def rows(
        self,
        table: str,
        *,
        after: Mapping[str, int] | Mapping[str, Mark],
        upto: Mapping[str, int] | None = None,
    ) -> Iterator[tuple[str, str, str, int, int, float, str, int]]:
        """Iterate over the same points as plain tuples in METRICS' order, without any library: for few points."""
        for writer, seg, first in self._past(after, upto):
            base = seg.number << 32
            runs = {i: r for i, r in seg.names.runs.items() if r[0] == table}
            bad = seg.bad
            for n, (r, k, *rest) in enumerate(
                zip(*(view[first:] for view in seg.views()), strict=True)
            ):
                row = first + n
                key = seg.names.keys.get(k)
                if r not in runs or key is None or any(a <= row < b for a, b in bad):
                    continue
                _, project, run_id = runs[r]
                yield project, run_id, key, *rest, writer, base | row

    def waiting_rows(
        self, after: Mapping[str, int] | Mapping[str, Mark], upto: Mapping[str, int] | None = None
    ) -> int:
        """Number of points past the marks, of all tables."""
        return sum(seg.rows - first for _, seg, first in self._past(after, upto))

    def text(
        self,
        *,
        after: Mapping[str, int],
        upto: Mapping[str, int] | None = None,
        run_ids: Collection[str] | None = None,
    ) -> pa.Table:
        """Return console lines of the text logs numbered above `after`: the schema of LOGS, in the order of writing."""
        from mlrun.journal.arrow import text_table

        return text_table(self._lines(after, upto, None if run_ids is None else set(run_ids)))

    def _lines(
        self, after: Mapping[str, int], upto: Mapping[str, int] | None, run_ids: set[str] | None
    ) -> Iterator[tuple[str, str, int, str, str, str, int]]:
        # most records are of other runs: their bytes tell it before they are decoded
        names = [pack(r)[1:-1] for r in run_ids or ()] if len(run_ids or ()) <= _FEW_RUNS else []
        for writer, logs in self._logs.items():
            for log in logs[TEXT]:
                if log.number <= after.get(writer, 0):
                    continue
                if upto is not None and log.number > upto.get(writer, 0):
                    break
                scan = log.scan()
                self._tell(log.path, scan, alive=self.writers[writer].alive)
                seq = log.number << 32
                for _, payload in scan.records:
                    if names and not any(name in payload for name in names):
                        seq += 1  # order is all that the number is for here
                        continue
                    project, run_id, lines = json.loads(payload)
                    if run_ids is None or run_id in run_ids:
                        for i, (time, stream, line) in enumerate(lines):
                            yield project, run_id, time, stream, line, writer, seq + i
                    seq += len(lines)

    def _past(
        self, after: Mapping[str, int] | Mapping[str, Mark], upto: Mapping[str, int] | None = None
    ) -> Iterator[tuple[str, MappedSegment, int]]:
        """Iterate over the segments that have rows past the marks, each with the first such row."""
        for writer, segments in self._segments.items():
            mark = after.get(writer, 0)
            number, row = (mark.segment, mark.row) if isinstance(mark, Mark) else (mark + 1, 0)
            for seg in segments:
                if upto is not None and seg.number > upto.get(writer, 0):
                    break
                first = row if seg.number == number else 0
                if seg.number >= number and first < seg.rows:
                    yield writer, seg, first

    def _open_slot(self, folder: Path, *, verify: bool) -> None:
        """Open a slot's files so that what is seen of each kind is what was there at one instant.

        The newest file is opened first: what it holds was written when the older ones were complete. Logs come before
        segments: of a run that is recorded as ended, every point is seen.
        """
        owner, alive = _who(folder)
        info = WriterInfo(
            folder.name,
            folder,
            alive,
            owner.claim if owner else 0,
            owner.host if owner else "",
        )
        self.writers[info.name] = info
        found = _list_settled(folder)
        logs = self._logs[info.name] = {
            kind: list(self._open_logs(info, kind, found[kind]))[::-1] for kind in (LOG, TEXT)
        }
        info.opened = logs
        segments = self._segments[info.name] = []
        for number in reversed(found[SEGMENT]):
            seg = self._open_segment(info, number, verify=verify)
            if seg is not None:
                segments.insert(0, seg)
                info.segments.insert(0, SegmentInfo(number, seg.rows, seg.head.sealed))

    def _open_logs(self, writer: WriterInfo, kind: str, numbers: list[int]) -> Iterator[_Log]:
        for number in reversed(numbers):
            try:
                yield _Log(numbered(writer.folder, number, kind), number)
            except FileNotFoundError:
                continue  # absorbed since it was listed: the stores have it
            except OSError as error:
                self._leave(writer, kind, number, error)

    def _leave(self, writer: WriterInfo, kind: str, number: int, error: OSError) -> None:
        """Leave out a file that cannot be opened; perhaps it can be the next time (too many open files)."""
        writer.unread[kind] = number  # from the newest downwards: the lowest stays
        self._add("lost", numbered(writer.folder, number, kind), f"not readable: {error.strerror}")

    def _open_segment(
        self, writer: WriterInfo, number: int, *, verify: bool
    ) -> MappedSegment | None:
        path = numbered(writer.folder, number, SEGMENT)
        try:
            seg = MappedSegment(path, number, verify=verify)
        except FileNotFoundError:
            return None  # absorbed since it was listed: the stores have it
        except SegmentDamage as error:
            self._add("lost", path, f"{error}; its points cannot be read")
            return None
        except OSError as error:
            self._leave(writer, SEGMENT, number, error)
            return None
        if cut := seg.head.claimed - seg.rows + seg.head.cut:
            self._add("lost", path, f"cut off: {cut} points are missing")
        if seg.head.seal_damaged:
            self._add("repairable", path, "its seal is damaged; the points are read unchecked")
        for first, end in seg.bad:
            self._add("lost", path, f"rows {first} to {end - 1} are not what was written")
        if seg.rows and not any(seg.names):
            if not path.exists():
                return None  # absorbed between the opening of its two files
            self._add("lost", path, f"its dictionary is gone: {seg.rows} points have no name")
        if not seg.head.used and any(seg.names) and seg.still_unused():
            self._add("lost", path, "it is empty, but points were written to it")
        self._tell(path.with_suffix(".dict"), seg.dictionary.scan, alive=True)
        return seg

    def _tell(self, path: Path, scan: LogScan, *, alive: bool) -> None:
        for start, end, kind in scan.damage:
            if kind == "lost":
                self._add("lost", path, f"bytes {start} to {end} are damaged and were left out")
            elif kind == "header":
                self._add("repairable", path, "its header is damaged")
            elif not alive:  # a living writer's tail may be an append under way
                what = f"a torn append of {end - start} bytes at its end; it was not acknowledged"
                self._add("note", path, what)

    def _add(self, severity: Any, path: Path, what: str) -> None:
        where = where_of(path)
        self._findings[where, what] = Finding(severity, where, what)


def _log_info(log: _Log) -> LogInfo:
    scan = log.scan()
    return LogInfo(log.number, scan.end, scan.sealed)


def _list_settled(folder: Path) -> dict[str, list[int]]:
    """List the numbers so that none below the highest is missing.

    A listing during which files are made may show a younger one and not the older. What a first listing shows was made
    before a second one begins, and with it everything of a lower number.
    """
    first, second = list_numbers(folder), list_numbers(folder)
    return {
        kind: [n for n in numbers if n <= max(first[kind], default=0)]
        for kind, numbers in second.items()
    }


def _who(folder: Path) -> tuple[Owner | None, bool]:
    """Return the owner and whether he lives, of one and the same claim."""
    while True:
        owner = read_owner(folder)
        alive = probe_alive(folder)
        again = read_owner(folder)
        if owner == again or owner is None or again is None or owner.claim == again.claim:
            return again, alive
