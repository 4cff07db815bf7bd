"""The absorber's long half: sealed segments and console logs into the series store, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import CanSync, Mark
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT, numbered
from mlrun.journal.snapshot import read_journal
from mlrun.rollups import build
from mlrun.tables import LOGS, METRICS, ROLLUPS, SYSTEM_METRICS, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from mlrun.journal.snapshot import JournalSnapshot
    from mlrun.store import Store

__all__ = ["CHUNK_ROWS", "absorb_series"]

CHUNK_ROWS = 2_000_000  # points of one commit, about: bounds the absorber's memory
_CHUNK_LOGS = 16  # console logs of one commit, a few MB each


def absorb_series(store: Store) -> dict[str, int]:
    """Commit what is sealed, chunk by chunk, and unlink what every store then holds.

    The records store must have absorbed before: a segment goes only when its summaries are folded too.
    """
    journal = read_journal(store.journal)
    counts = {"points": 0, "lines": 0, "files": 0}
    store.series.create(METRICS, ROLLUPS, SYSTEM_METRICS, LOGS)
    for chunk in _segments(journal):
        counts["points"] += _commit_points(store, journal, chunk)
        counts["files"] += _unlink(store, journal, chunk, SEGMENT)
    for chunk in _logs(journal):
        counts["lines"] += _commit_lines(store, journal, chunk)
        counts["files"] += _unlink(store, journal, chunk, TEXT)
    counts["files"] += _unlink_records(store, journal)
    return counts


def _segments(journal: JournalSnapshot) -> Iterator[dict[str, list[int]]]:
    """Part the sealed segments of all writers, in order, into chunks of about CHUNK_ROWS."""
    chunk: dict[str, list[int]] = {}
    rows = 0
    for name, writer in journal.writers.items():
        for segment in writer.segments:
            if not segment.sealed:
                break
            chunk.setdefault(name, []).append(segment.number)
            rows += segment.rows
            if rows >= CHUNK_ROWS:
                yield chunk
                chunk, rows = {}, 0
    if chunk:
        yield chunk


def _logs(journal: JournalSnapshot) -> Iterator[dict[str, list[int]]]:
    chunk: dict[str, list[int]] = {}
    for name, writer in journal.writers.items():
        for text in writer.texts:
            if not text.sealed:
                break
            chunk.setdefault(name, []).append(text.number)
            if sum(map(len, chunk.values())) >= _CHUNK_LOGS:
                yield chunk
                chunk = {}
    if chunk:
        yield chunk


def _commit_points(store: Store, journal: JournalSnapshot, chunk: dict[str, list[int]]) -> int:
    upto = {name: numbers[-1] for name, numbers in chunk.items()}
    moved = 0
    for table in (METRICS, SYSTEM_METRICS):
        rows = _points(store, journal, table, table, upto)
        if rows.num_rows and store.series.append(table, rows, marks=upto):
            moved += rows.num_rows
    rows = _points(store, journal, METRICS, ROLLUPS, upto)
    if rows.num_rows:
        store.series.append(ROLLUPS, build(rows), marks=upto)
    return moved


def _points(
    store: Store, journal: JournalSnapshot, source: Table, target: Table, upto: dict[str, int]
) -> pa.Table:
    """Rows of `source` up to these segments that `target` does not hold."""
    marks = store.series.snapshot(target).marks()
    return journal.points(source.name, after=marks, upto=upto)


def _commit_lines(store: Store, journal: JournalSnapshot, chunk: dict[str, list[int]]) -> int:
    upto = {name: numbers[-1] for name, numbers in chunk.items()}
    marks = store.series.snapshot(LOGS).marks()
    rows = journal.text(after=marks, upto=upto)
    if rows.num_rows and store.series.append(LOGS, rows, marks=upto):
        return int(rows.num_rows)
    return 0


def _unlink(store: Store, journal: JournalSnapshot, chunk: dict[str, list[int]], kind: str) -> int:
    """Unlink committed files; a segment only when its rows are folded into summaries as well."""
    _sync(store)
    marks = store.records.marks()
    gone = 0
    for name, numbers in chunk.items():
        folder, mark = journal.folder / name, marks.get(name, Mark())
        for segment in journal.writers[name].segments if kind == SEGMENT else ():
            folded = not segment.rows or (mark.segment, mark.row) >= (segment.number, segment.rows)
            if segment.number in numbers and folded:
                numbered(folder, segment.number, SEGMENT).unlink(missing_ok=True)
                numbered(folder, segment.number, DICT).unlink(missing_ok=True)
                gone += 1
        for number in numbers if kind == TEXT else ():
            numbered(folder, number, TEXT).unlink(missing_ok=True)
            gone += 1
    return gone


def _unlink_records(store: Store, journal: JournalSnapshot) -> int:
    """Unlink sealed record logs that the records store holds whole."""
    _sync(store)
    marks = store.records.marks()
    gone = 0
    for name, writer in journal.writers.items():
        mark = marks.get(name, Mark())
        for log in writer.logs:
            if log.sealed and (mark.log, mark.offset) >= (log.number, log.bytes):
                numbered(journal.folder / name, log.number, LOG).unlink(missing_ok=True)
                gone += 1
    return gone


def _sync(store: Store) -> None:
    """What the stores hold must survive a power failure before the journal forgets it."""
    for part in (store.records, store.series):
        if isinstance(part, CanSync):
            part.sync()
