"""Rows straight into a series store that commits every batch (ClickHouse): nothing of a writer stays on this host.

Law.
    A commit appends the rows of all writers, table by table, then moves the writers' marks in the records store
    together with the summaries of these rows. The mark is the position: a gateway that dies in between is sent the same
    rows again. The series store says by its own marks (`seq` behind the last row, by writer) which of them it has, so
    they are appended once; the records store compares and sets, so they are folded once.
    Any number of gateways may serve one store; a writer that two of them hear is told to try again by one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mlrun.contracts import Mark
from mlrun.errors import StoreBusy, UploadRefused
from mlrun.ids import now_us
from mlrun.journal.arrow import PointTable, text_table
from mlrun.journal.files import DICT, SEGMENT, TEXT
from mlrun.journal.fold import fold_points
from mlrun.journal.mapped import Names
from mlrun.journal.reclog import split_frames
from mlrun.journal.segment import COLUMNS
from mlrun.tables import LOGS, METRICS, ROLLUPS, RUNS, SYSTEM_METRICS

from .ingest_session import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.journal.upload import Part
    from mlrun.store import Store
    from mlrun.tables import Table

    from .ingest_session import Session

__all__ = ["Direct"]

_TABLES = (METRICS, SYSTEM_METRICS)
_TRIES = 5
_SIGN_US = 60_000_000


class _Rows:
    """Rows of a part as `PointTable` takes a segment."""

    def __init__(self, part: Part, skip: int, names: Names) -> None:
        self.number = part.number
        self.names = names
        self.rows = part.last - part.first - skip
        self.bad: list[tuple[int, int]] = []
        self._payload = part.payload
        self._starts = []
        at, count = 0, part.last - part.first
        for _, _, width in COLUMNS:
            self._starts.append(at + skip * width)
            at += count * width

    def column(self, index: int) -> tuple[bytes | memoryview, int]:
        return self._payload, self._starts[index]


class Direct:
    """Appends uploaded rows and lines to the series store. Used by one thread.

    Args:
        store: the gateway's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[Table, list[pa.Table]] = {}
        self._unfolded: list[pa.Table] = []
        self._ends: dict[Table, dict[str, int]] = {}
        self._moves: dict[str, tuple[Mark, Mark]] = {}
        store.series.create(*_TABLES, LOGS, ROLLUPS)  # those who ask look at the last too

    # -- sessions --------------------------------------------------------------------------------

    def open(self, session: Session, marks: dict[str, Mark]) -> None:
        """Find out what has arrived."""
        points = marks.get(session.writer, Mark())
        lines = marks.get(f"{session.writer}/console", Mark())
        session.positions |= {
            SEGMENT: (points.segment, points.row),
            TEXT: (lines.log, lines.offset),
            DICT: (points.segment, 0),
        }
        have = {
            table: self._store.series.snapshot(table).marks().get(session.writer, 0)
            for table in (*_TABLES, LOGS)
        }
        session.extra = {
            "points": points,
            "lines": lines,
            "names": (0, Names({}, {})),
            "have": have,
        }

    def tell_claim(self, name: str, session: Session) -> None:
        """Do nothing: runs say themselves when they were last heard of."""

    def silence(self, session: Session) -> None:
        """Do nothing: the runs' rows say that they are lost."""

    def release(self, session: Session) -> None:
        """Do nothing: no file is open."""

    def tidy(self) -> None:
        """Do nothing: no file is kept."""

    def sign(self, session: Session) -> None:
        """Say for its open runs that the writer lives; about once a minute."""
        if now_us() - session.extra.get("signed", 0) < _SIGN_US:
            return
        session.extra["signed"] = now_us()
        owner = f"{session.writer}#{session.claim}"
        found = self._store.records.lookup(RUNS, {"writer": owner, "state": "running"})
        if found:
            rows = [{"run_id": r["run_id"], "updated_at": now_us()} for r in found]
            self._store.records.apply([("put", RUNS.name, row) for row in rows])

    # -- parts -----------------------------------------------------------------------------------

    def names(self, session: Session, part: Part, skip: int) -> None:
        """Remember names of a segment; they were checked."""
        number, known = session.extra["names"]
        if number != part.number:
            known = Names({}, {})
        runs, keys = dict(known.runs), dict(known.keys)
        for _, payload in split_frames(part.payload[skip:]):
            for kind, n, *words in json.loads(payload):
                if kind == "r":
                    runs[n] = (words[0], words[1], words[2])
                else:
                    keys[n] = words[0]
        session.extra["names"] = (part.number, Names(runs, keys))
        session.positions[DICT] = (part.number, part.last)

    def points_start(self, session: Session, part: Part) -> None:
        """Go on behind a gap."""
        session.positions[SEGMENT] = (part.number, part.first)

    def text_start(self, session: Session, part: Part) -> None:
        """Go on behind a gap."""
        session.positions[TEXT] = (part.number, part.first)

    def names_of(self, session: Session, part: Part) -> Names:
        """Return the names of a segment that have arrived."""
        number, names = session.extra["names"]
        return names if number == part.number else Names({}, {})

    def points(self, session: Session, part: Part, skip: int) -> None:
        """Queue rows for the commit."""
        number, names = session.extra["names"]
        if number != part.number and part.last - part.first > skip:
            raise UploadRefused("rows arrived before their names")
        for table in _TABLES:
            taken = PointTable(table.name, None, None)
            taken.add(session.writer, _Rows(part, skip, names), 0)  # type: ignore[arg-type]  # it has what is read
            rows = taken.table()
            if rows.num_rows:
                at = rows.schema.get_field_index("seq")
                seq = pc.add(rows.column(at), part.first + skip)
                rows = rows.set_column(at, rows.schema.field(at), seq)
                if table is METRICS:
                    self._unfolded.append(rows)  # also those that are appended already
                rows = rows.filter(pc.greater_equal(seq, session.extra["have"][table]))
                self._rows.setdefault(table, []).append(rows)
                behind = part.number << 32 | part.last
                self._ends.setdefault(table, {})[session.writer] = behind
        before = session.extra["points"]
        end = session.positions[SEGMENT] = part.end()
        after = session.extra["points"] = before._replace(segment=end[0], row=end[1])
        self._move(session.writer, before, after)

    def text(self, session: Session, part: Part, skip: int) -> None:
        """Queue lines for the commit."""
        name = f"{session.writer}/console"
        before: Mark = session.extra["lines"]
        count = before.row if before.log == part.number else 0
        lines = []
        for _, project, run_id, found in read_lines(part, skip):
            for time, stream, line in found:
                seq = part.number << 32 | count
                if seq >= session.extra["have"][LOGS]:
                    lines.append((project, run_id, time, stream, line, session.writer, seq))
                count += 1
        if lines:
            self._rows.setdefault(LOGS, []).append(text_table(lines))
            self._ends.setdefault(LOGS, {})[session.writer] = part.number << 32 | count
        end = session.positions[TEXT] = part.end()
        row = 0 if part.final else count
        after = session.extra["lines"] = Mark(log=end[0], offset=end[1], segment=1, row=row)
        self._move(name, before, after)

    def _move(self, name: str, before: Mark, after: Mark) -> None:
        first, _ = self._moves.get(name, (before, after))
        self._moves[name] = (first, after)

    # -- commit ----------------------------------------------------------------------------------

    def commit(self, move: Callable[[str, Mark, Mark], None]) -> list[tuple[Any, ...]]:
        """Append what was queued; returns the summaries of its points, to be applied with the marks."""
        try:
            whole = pa.concat_tables(self._unfolded) if self._unfolded else None
            for table, parts in self._rows.items():
                self._append(table, pa.concat_tables(parts), self._ends[table])
            for name, (before, after) in self._moves.items():
                move(name, before, after)
            return fold_points(whole) if whole is not None else []
        finally:
            self.forget()

    def _append(self, table: Table, rows: pa.Table, ends: dict[str, int]) -> None:
        """Append the rows that the table does not have; it has all of them afterwards."""
        series = self._store.series
        for _ in range(_TRIES):
            if not rows.num_rows or series.append(table, rows, marks=ends):
                return
            marks = series.snapshot(table).marks()
            writer = rows.column("writer").cast(pa.string())
            keep = pc.equal(writer, "")
            for name in ends:
                new = pc.greater_equal(rows.column("seq"), marks.get(name, 0))
                keep = pc.or_(keep, pc.and_(pc.equal(writer, name), new))
            rows = rows.filter(keep)
            ends = {w: end for w, end in ends.items() if marks.get(w, 0) < end}
        raise StoreBusy("another gateway hears the same writers: try again")

    def forget(self) -> None:
        """Drop what was queued."""
        self._rows.clear()
        self._unfolded.clear()
        self._ends.clear()
        self._moves.clear()

    def close(self) -> None:
        """Do nothing: the store is the gateway's to close."""
