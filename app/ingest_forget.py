"""When the marks of a writer elsewhere may go, so that their number follows from who writes, not from who ever wrote.

Law.
    A mark is what keeps rows and records from being taken twice, so it may go only when its writer can never send them
    again. The sender says so: an upload that names a writer as not living, with no part of it, is sent only when all
    of its files have been acknowledged, its uploader has taken note of that, and the files are gone (`farewell`). The
    time of it is kept in the `row` of `<writer>/records`; whatever is heard of the writer afterwards takes it back.
    `DAYS` after a farewell, when nothing of the writer is left in the journal of this host, all of its marks go in one
    transaction that compares them: of a writer that is heard in the same moment, either they stay or it begins anew.
    The slot of a spool may be claimed again after that; files of the new claim have higher numbers, and are new. What
    belongs to a claim whose runs are stored, but whose marks are gone, has arrived before, whoever sends it once
    more (a spool from a backup): it is refused as a whole, and stays where it is.
    A writer without a farewell, a spool that vanished with its pod for instance, keeps its marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import Mark
from mlrun.errors import MarkConflict, UploadRefused
from mlrun.ids import now_us
from mlrun.tables import RUNS

from .ingest_files import slot_of

if TYPE_CHECKING:
    from mlrun.contracts import Records
    from mlrun.store import Store

    from .ingest_batch import Batch
    from .ingest_session import Session

__all__ = ["DAYS", "farewell", "forget", "need_unknown"]

DAYS = 30
_RECORDS = "/records"


def farewell(session: Session, batch: Batch, *, ended: bool) -> None:
    """Note that a writer has said that it has ended and that nothing of it waits, or that it is heard again."""
    before = session.record
    if ended is not bool(before.row):
        session.record = before._replace(row=now_us() // 1_000_000 if ended else 0)
        batch.move(session.writer + _RECORDS, before, session.record)


def need_unknown(records: Records, writer: str, claim: int) -> None:
    """Refuse a writer without marks whose claim has been here before.

    Raises:
        UploadRefused: its runs are stored: it was forgotten, and sends what had arrived.
    """
    if records.lookup(RUNS, {"writer": f"{writer}#{claim}"}):
        raise UploadRefused(
            f"writer {writer} had ended and was forgotten: what its spool sends now has arrived long ago"
        )


def forget(store: Store, days: float = DAYS) -> int:
    """Remove the marks of writers that said farewell so many days ago; returns how many writers."""
    marks = store.records.marks()
    before = now_us() / 1e6 - days * 86_400
    gone = 0
    for name, mark in marks.items():
        if not name.endswith(_RECORDS) or not 0 < mark.row < before:
            continue
        writer = name.removesuffix(_RECORDS)
        slots = {writer, slot_of(writer, marks.get(f"{writer}/base", Mark()))}
        if any((store.journal / slot).exists() for slot in slots):
            continue  # the absorber has not been there yet
        theirs = (name, f"{writer}/base", f"{writer}/console", *slots)
        known = {each: marks[each] for each in theirs if each in marks}
        try:
            store.records.apply([], expected=known, marks=dict.fromkeys(known, Mark()))
        except MarkConflict:
            continue  # it was heard just now
        gone += 1
    return gone
