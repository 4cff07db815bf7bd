"""The absorber: moves what is written from the journal into the stores, and unlinks what all of them hold.

Law.
    Two locks, two speeds. `records.lock` guards record logs and summaries into the records store: short, taken by every
    `finish()`. `absorb.lock` guards series and unlinking: long, one absorber at a time, never the training process.
    Each store keeps its own high-water mark and moves it in the same transaction as the data: a kill between two
    steps repeats nothing and skips nothing. The locks only avoid wasted work; a second absorber that slipped in meets
    `MarkConflict`, or an append that answers "already there".
    Series take whole sealed segments; records and summaries take a log up to any record, a segment up to any row.
    A dead writer's slot is adopted: its lock is held through commit and unlink, so that no new process claims it.
    A file is unlinked when every store that has something of it has its mark past it.
    Last, small rollup files are merged once many have gathered. That is a commit of its own, which moves no mark and no
    row: a kill before it leaves more files, nothing else.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.contracts import Mark
from mlrun.errors import MarkConflict, SchemaMismatch, StoreError
from mlrun.ids import now_us
from mlrun.journal.files import LOG, SEGMENT, list_numbers, list_slots
from mlrun.journal.fold import fold, is_cheap
from mlrun.journal.slots import adopt
from mlrun.journal.snapshot import read_journal
from mlrun.lookup.liveness import OPEN_STATES, is_alive, state_without_writer
from mlrun.lookup.opcheck import misfit
from mlrun.notices import warn_of_damage
from mlrun.tables import RUNS, SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.contracts import Op
    from mlrun.journal.snapshot import JournalSnapshot
    from mlrun.store import Store

__all__ = ["CHUNK_ROWS", "absorb", "absorb_records", "apply_or_set_aside", "set_aside"]

CHUNK_ROWS = 2_000_000  # points in one commit, about: bounds the absorber's memory
_TRIES = 20


def absorb_records(store: Store, *, wait: bool) -> bool:
    """Move pending records, and summaries of pending points, into the records store.

    Without `wait` it is the end of a run that asks: then no heavy library is loaded, and points whose summaries would
    need one stay for the next who absorbs.

    Returns:
        False if `wait` is off and another process is at it.
    """
    store.prepare()
    lock = FileLock(store.journal / "records.lock")
    if not lock.acquire(wait=wait):
        return False
    try:
        for _ in range(_TRIES):
            try:
                _absorb_records(store, cheaply=not wait)
            except MarkConflict:
                continue  # an absorber on another host; look again
            return True
        raise StoreError(
            "the records store's marks keep moving: is the journal shared by two stores?"
        )
    finally:
        lock.release()


def _absorb_records(store: Store, *, cheaply: bool) -> None:
    """Absorb one chunk after the other, each in a transaction of its own, until nothing is pending."""
    journal = read_journal(store.journal)
    while True:
        marks = store.records.marks()
        ops, after = _pending_ops(journal, marks)
        points, rows_left = _pending_points(journal, marks, after, cheaply=cheaply)
        if not after:
            return
        apply_or_set_aside(store, ops, points, {w: marks.get(w, Mark()) for w in after}, after)
        if not rows_left:
            return


def _pending_ops(
    journal: JournalSnapshot, marks: Mapping[str, Mark]
) -> tuple[list[Op], dict[str, Mark]]:
    ops: list[Op] = []
    after: dict[str, Mark] = {}
    for writer, mark, batch in journal.ops(marks):
        if not journal.writers[writer].may_pass(LOG, mark.log):
            continue
        ops.extend(batch)
        after[writer] = mark
    return ops, after


def _pending_points(
    journal: JournalSnapshot,
    marks: Mapping[str, Mark],
    after: dict[str, Mark],
    *,
    cheaply: bool,
) -> tuple[list[tuple[Any, ...]], bool]:
    """Fold up to a chunk of points past the marks, moving `after`; tells whether more are left."""
    upto, left = _next_rows(journal, marks)
    if not upto:
        return [], False
    whole = {w: segment for w, (segment, _) in upto.items()}
    if cheaply and not is_cheap(journal, after=marks, upto=whole):
        return [], False
    points = fold(journal, after=marks, upto=whole)
    for writer, (segment, row) in upto.items():
        base = after.get(writer, marks.get(writer, Mark()))
        after[writer] = base._replace(segment=segment, row=row)
    return points, left


def _next_rows(
    journal: JournalSnapshot, marks: Mapping[str, Mark]
) -> tuple[dict[str, tuple[int, int]], bool]:
    """Choose whole segments past the marks, of every writer, up to CHUNK_ROWS rows (at least one segment each)."""
    upto: dict[str, tuple[int, int]] = {}
    total, left = 0, False
    for name, writer in journal.writers.items():
        mark = marks.get(name, Mark())
        for segment in writer.segments:
            # an empty one is prepared while the one before it still grows: a mark on it would skip the rest of that
            if not segment.rows or (segment.number, segment.rows) <= (mark.segment, mark.row):
                continue
            if not writer.may_pass(SEGMENT, segment.number):
                break
            if total >= CHUNK_ROWS and name in upto:
                left = True
                break
            upto[name] = (segment.number, segment.rows)
            total += segment.rows
    return upto, left


def apply_or_set_aside(
    store: Store,
    ops: list[Op],
    points: list[tuple[Any, ...]],
    expected: Mapping[str, Mark],
    marks: Mapping[str, Mark],
) -> None:
    """Apply all at once; if one op fits no table, the others one by one, and that one is kept in `rejected.jsonl`."""
    try:
        store.records.apply(ops, summaries=points, expected=expected, marks=marks)
    except SchemaMismatch:
        # one record does not fit its table: the others must not wait behind it for ever. Ops are idempotent, so those
        # that fit go one by one, and a kill in between only repeats them; the marks move last
        set_aside(store, _apply_each(store, ops))
        store.records.apply([], summaries=points, expected=expected, marks=marks)


def _apply_each(store: Store, ops: list[Op]) -> list[tuple[Op, str]]:
    """Apply what fits; returns the ops that were refused, and why."""
    refused: list[tuple[Op, str]] = []
    for op in ops:
        why = misfit(op)
        if not why:
            try:
                store.records.apply([op])
            except SchemaMismatch as error:
                why = str(error)
        if why:
            refused.append((op, why))
    return refused


def set_aside(store: Store, refused: list[tuple[Op, str]]) -> None:
    """Keep what no table takes in `rejected.jsonl`, where `doctor` finds it."""
    with open(store.journal / "rejected.jsonl", "a", encoding="utf-8") as file:
        for op, why in refused:
            file.write(json.dumps({"time": now_us(), "why": why, "op": op}) + "\n")


def absorb(store: Store, *, wait: bool) -> dict[str, int]:
    """Move everything that is sealed into the stores and unlink it; adopts the slots of dead writers.

    Returns:
        Counts: `points`, `lines` and `files` moved; empty if `wait` is off and another absorber is at work.
    """
    # these load pyarrow and Polars, which absorb_records must not
    from mlrun.journal.absorb_rollups import gather_rollups
    from mlrun.journal.series import absorb_series

    store.prepare()
    lock = FileLock(store.journal / "absorb.lock")
    if not lock.acquire(wait=wait):
        return {}
    counts = {"points": 0, "lines": 0, "files": 0}
    try:
        with ExitStack() as stack:
            adopted = _adopt(store, stack)
            absorb_records(store, wait=True)
            _record_lost(store, adopted)
            for name, number in absorb_series(store).items():
                counts[name] += number
        gather_rollups(store)
    finally:
        lock.release()
    return counts


def _adopt(store: Store, stack: ExitStack) -> list[str]:
    """Hold every dead writer's slot until the stack closes; returns their names."""
    held = []
    for folder in list_slots(store.journal):
        if not any(list_numbers(folder).values()):
            continue
        adoption = stack.enter_context(adopt(folder))
        if adoption is not None:
            held.append(folder.name)
            warn_of_damage(adoption.findings)  # the files stay aside, where doctor finds them too
    return held


def _record_lost(store: Store, adopted: list[str]) -> None:
    """Write down that runs whose writer died are lost; readers derive the same while nobody has."""
    journal = read_journal(store.journal)
    lock = FileLock(
        store.journal / "records.lock"
    )  # a run that is resumed meanwhile is absorbed after us
    with lock:
        found = [r for state in OPEN_STATES for r in store.records.lookup(RUNS, {"state": state})]
        lost = [
            r
            for r in found
            if r["writer"] and not is_alive(journal, r["writer"], r["updated_at"], adopted=adopted)
        ]
        if lost:
            store.records.apply([("put", RUNS.name, _lost(store, row)) for row in lost])


def _lost(store: Store, row: dict[str, Any]) -> dict[str, Any]:
    times = [s["last_time"] for s in store.records.lookup(SUMMARIES, {"run_id": row["run_id"]})]
    heard = max([*times, row["updated_at"] or 0, row["started_at"] or 0])
    return {
        "run_id": row["run_id"],
        "state": state_without_writer(row["state"]),
        "finished_at": heard,
        "updated_at": now_us(),
    }
