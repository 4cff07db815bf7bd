"""The absorber's long half: sealed segments and console logs into the series store, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import CanSync, Mark
from mlrun.journal.aside import let_go
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT, numbered
from mlrun.journal.slots import where_of
from mlrun.journal.snapshot import read_journal
from mlrun.journal.verify import verify_log
from mlrun.notices import warn_of_damage
from mlrun.series.rollups import build
from mlrun.tables import LOGS, METRICS, ROLLUPS, SYSTEM_METRICS, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
    journal = read_journal(store.journal, verify=True)
    warn_of_damage(journal.findings)
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
            if not segment.sealed or not writer.may_pass(SEGMENT, segment.number):
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
            if not text.sealed or not writer.may_pass(TEXT, text.number):
                break
            chunk.setdefault(name, []).append(text.number)
            if sum(map(len, chunk.values())) >= _CHUNK_LOGS:
                yield chunk
                chunk = {}
    if chunk:
        yield chunk


def _commit_points(store: Store, journal: JournalSnapshot, chunk: dict[str, list[int]]) -> int:
    upto = {name: numbers[-1] for name, numbers in chunk.items()}

    def rows_of(table: Table) -> Callable[[dict[str, int]], pa.Table]:
        return lambda marks: journal.points(table.name, after=marks, upto=upto)

    moved = _commit(store, METRICS, upto, rows_of(METRICS))
    moved += _commit(store, SYSTEM_METRICS, upto, rows_of(SYSTEM_METRICS))
    _commit(store, ROLLUPS, upto, rows_of(METRICS), build)
    return moved


def _commit(
    store: Store,
    table: Table,
    upto: dict[str, int],
    read: Callable[[dict[str, int]], pa.Table],
    make: Callable[[pa.Table], pa.Table] = lambda rows: rows,
) -> int:
    """Append the rows that `table` does not hold; returns how many were read. It holds all of them afterwards.

    Tables may be at different marks, when an absorber was killed between two of them: each gets what it lacks, and
    only the marks of the writers that it is behind of, for an append is refused if any of its marks is there already.
    """
    while True:
        marks = store.series.snapshot(table).marks()
        rows = read(marks)
        if not rows.num_rows:
            return 0
        behind = {name: number for name, number in upto.items() if marks.get(name, 0) < number}
        if store.series.append(table, make(rows), marks=behind):
            return int(rows.num_rows)


def _commit_lines(store: Store, journal: JournalSnapshot, chunk: dict[str, list[int]]) -> int:
    upto = {name: numbers[-1] for name, numbers in chunk.items()}
    return _commit(store, LOGS, upto, lambda marks: journal.text(after=marks, upto=upto))


def _unlink(store: Store, journal: JournalSnapshot, chunk: dict[str, list[int]], kind: str) -> int:
    """Unlink committed files; a segment only when its rows are folded into summaries as well."""
    _sync(store)
    marks = store.records.marks()
    lacking = {f.where for f in journal.findings if f.severity == "lost"}
    gone = 0
    for name, numbers in chunk.items():
        folder, mark = journal.folder / name, marks.get(name, Mark())
        for segment in journal.writers[name].segments if kind == SEGMENT else ():
            folded = not segment.rows or (mark.segment, mark.row) >= (segment.number, segment.rows)
            if segment.number in numbers and folded:
                pair = [numbered(folder, segment.number, k) for k in (SEGMENT, DICT)]
                let_go(*pair, damaged=any(where_of(p) in lacking for p in pair))
                gone += 1
        for number in numbers if kind == TEXT else ():
            _let_log_go(numbered(folder, number, TEXT))
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
                _let_log_go(numbered(journal.folder / name, log.number, LOG))
                gone += 1
    return gone


def _let_log_go(path: Path) -> None:
    let_go(path, damaged=any(f.severity == "lost" for f in verify_log(path)))


def _sync(store: Store) -> None:
    """What the stores hold must survive a power failure before the journal forgets it."""
    for part in (store.records, store.series):
        if isinstance(part, CanSync):
            part.sync()
