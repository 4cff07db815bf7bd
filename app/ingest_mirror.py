"""Mirrored slots: the journal of a writer elsewhere, rebuilt in the gateway's own, where every reader unions it.

For a series store that does not commit every batch (Delta). The gateway's absorber moves what is sealed, as it does for
local writers; nobody else seals a mirrored slot (`mlrun.journal.slots.MIRRORED`).

Law.
    A writer's first slot has its own name, and its lock is held while the writer lives: so its runs read as they would
    with a local writer. Rows and bytes stand where they stood at the sender. Columns are written and synced before the
    count that publishes them, and that is synced before anybody is told.
    A writer that falls silent for long is let go: its open files are sealed where they are, so that they can be
    absorbed. Where it stopped, its *base*, is a mark in the records store, written before the sealing. If it is heard
    again it goes on in another slot, whose name follows from the base, and whose first files begin there.
    Positions are derived from these files, from the marks of the stores where files are gone, and from the base.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.contracts import Mark
from mlrun.errors import StoreBusy, UploadRefused
from mlrun.journal.files import (
    DICT,
    LOG,
    SEGMENT,
    TEXT,
    list_numbers,
    list_slots,
    numbered,
    pwrite,
    sync_folder,
)
from mlrun.journal.locks import SlotLock, try_lock
from mlrun.journal.mapped import Names, read_dictionary
from mlrun.journal.reclog import HEADER_BYTES, begin_log, seal_log
from mlrun.journal.sealing import SegmentDamage, read_head
from mlrun.journal.segment import COLUMNS, COUNT_AT, ROW_BYTES, column_offsets
from mlrun.journal.slots import MIRRORED, Owner, read_owner, seal_points, seal_slot, write_owner
from mlrun.tables import LOGS

from .ingest_files import columns_of, drop_unused, last_segment, last_text, make_segment, slot_of
from .ingest_session import known_ids

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.journal.upload import At, Part
    from mlrun.store import Store

    from .ingest_session import Session

__all__ = ["Mirror"]

_RELEASED = "released"
_TRIES = 20


class Mirror:
    """Writes uploaded rows and lines into slots of the gateway's journal. Used by one thread.

    Args:
        store: the gateway's.
        reserve: bytes of the disk that stay free.
    """

    def __init__(self, store: Store, reserve: int) -> None:
        self._store = store
        self._reserve = reserve
        self._locks: dict[str, SlotLock] = {}
        self._open: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}
        self._finals: list[tuple[Path, int, str]] = []
        self._fresh: set[Path] = set()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="mlrun-ingest-sync")

    # -- sessions --------------------------------------------------------------------------------

    def open(self, session: Session, marks: dict[str, Mark]) -> None:
        """Take the writer's slots, and find out what has arrived.

        Raises:
            StoreBusy: somebody is just absorbing what was left of it.
        """
        base = marks.get(f"{session.writer}/base", Mark())
        session.base, session.slot = base, slot_of(session.writer, base)
        for name in {session.writer, session.slot}:
            self._take_slot(name, session)
        folder = self._store.journal / session.slot
        found = list_numbers(folder)
        segment = last_segment(folder, found[SEGMENT], base)
        mark = marks.get(session.slot, Mark())
        if segment is None:
            segment = (mark.segment + 1, 0) if mark.segment else (base.segment, base.row)
        text = last_text(folder, found[TEXT], base)
        if text is None:
            absorbed = self._store.series.snapshot(LOGS).marks().get(session.slot, 0)
            text = (absorbed + 1, 0) if absorbed else (base.log, base.offset)
        names = numbered(folder, segment[0], DICT)
        size = names.stat().st_size if segment[0] and names.exists() else 0
        session.positions |= {SEGMENT: segment, TEXT: text, DICT: (segment[0], size)}

    def _take_slot(self, name: str, session: Session) -> None:
        folder = self._store.journal / name
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = self._locks.get(name)
        for _ in range(_TRIES):
            lock = lock or try_lock(folder / "lock", create=True)
            if lock is not None:
                break
            time.sleep(0.01)  # whoever looks who lives has it for an instant
        else:
            raise StoreBusy("what this writer left behind is just being absorbed: try again")
        self._locks[name] = lock
        self.tell_claim(name, session)

    def tell_claim(self, name: str, session: Session) -> None:
        """Write down whose slot it is and which claim holds it; readers take it for alive from here on."""
        folder = self._store.journal / name
        (folder / "adopted").unlink(missing_ok=True)
        owner = Owner(
            session.claim, session.host, f"{MIRRORED}:{session.writer}", MIRRORED, 0, session.heard_us,
            {SEGMENT: 1, LOG: 1, TEXT: 1},
        )  # fmt: skip
        before = read_owner(folder)
        if before is None or (before.claim, before.boot_id) != (owner.claim, MIRRORED):
            write_owner(folder, owner, sync=True)
            sync_folder(self._store.journal)

    def silence(self, session: Session) -> None:
        """Let readers take the writer for dead; its slots stay ours."""
        path = self._store.journal / session.writer / "adopted"
        path.write_text(str(session.claim), encoding="ascii")

    def release(self, session: Session) -> None:
        """Seal what is open, and leave the slots to the absorber; nothing of the writer is expected for long."""
        folder = self._store.journal / session.slot
        segment, text = session.positions[SEGMENT], session.positions[TEXT]
        if segment[1] or text[1]:
            self._rebase(session, segment, text)
            self._let_go(session.slot)
        else:
            drop_unused(folder)
            for _ in seal_slot(folder):
                pass  # nothing is open but what was never used
        for name in {session.writer, session.slot}:
            self._let_go(name)

    def _rebase(self, session: Session, segment: At, text: At) -> None:
        """Begin another slot at these positions, and seal the one before."""
        name = f"{session.writer}/base"
        before = session.base
        base = Mark(text[0], text[1], segment[0], segment[1])
        self._store.records.apply([], expected={name: before}, marks={name: base})
        drop_unused(self._store.journal / session.slot)
        for _ in seal_slot(self._store.journal / session.slot):
            pass  # what it met is told by whoever reads
        left, session.base = session.slot, base
        session.slot = slot_of(session.writer, base)
        session.positions[DICT] = (segment[0], 0)
        if left != session.writer:
            self._let_go(left)
        self._take_slot(session.slot, session)

    def _let_go(self, name: str) -> None:
        folder = self._store.journal / name
        owner = read_owner(folder)
        if owner is not None:
            write_owner(folder, Owner(**{**owner.__dict__, "boot_id": _RELEASED}), sync=False)
        lock = self._locks.pop(name, None)
        if lock is not None:
            lock.release()

    def mirrored(self) -> list[tuple[str, int, str]]:
        """Return (writer, claim, host) of every slot that a gateway before this one held."""
        found = {}
        for folder in list_slots(self._store.journal):
            owner = read_owner(folder)
            if owner is not None and owner.boot_id == MIRRORED:
                writer = owner.machine_id.partition(":")[2]
                found[writer] = (writer, owner.claim, owner.host)
        return sorted(found.values())

    def tidy(self) -> None:
        """Finish what a killed gateway had begun to let go of, and remove slots of writers that are gone for good."""
        marks = self._store.records.marks()
        for folder in list_slots(self._store.journal):
            owner = read_owner(folder)
            if owner is None or folder.name in self._locks:
                continue
            writer = owner.machine_id.partition(":")[2]
            if owner.boot_id == MIRRORED:
                current = slot_of(writer, marks.get(f"{writer}/base", Mark()))
                if folder.name not in (writer, current):
                    self._close_left(folder)
            elif owner.boot_id == _RELEASED and not any(list_numbers(folder).values()):
                self._remove(folder)

    def _close_left(self, folder: Path) -> None:
        lock = try_lock(folder / "lock", create=True)
        if lock is not None:
            self._locks[folder.name] = lock
            for _ in seal_slot(folder):
                pass  # told by whoever reads
            self._let_go(folder.name)

    def _remove(self, folder: Path) -> None:
        lock = try_lock(folder / "lock")
        if lock is None:
            return
        try:
            for name in ("owner.json", "adopted", "lock"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
        except OSError:
            pass  # something new is in it
        finally:
            lock.release()

    # -- parts -----------------------------------------------------------------------------------

    def names(self, session: Session, part: Part, skip: int) -> None:
        """Write names of a segment; they were checked."""
        path = numbered(self._store.journal / session.slot, part.number, DICT)
        pwrite(self._log(path), bytes(part.payload[skip:]), part.first + skip)
        session.positions[DICT] = (part.number, part.last)

    def text_start(self, session: Session, part: Part) -> None:
        """Go on behind a gap."""
        self._begin_at(session, session.positions[SEGMENT], (part.number, part.first))

    def points_start(self, session: Session, part: Part) -> None:
        """Go on behind a gap."""
        self._begin_at(session, (part.number, part.first), session.positions[TEXT])

    def _begin_at(self, session: Session, segment: At, text: At) -> None:
        self.commit()
        self._rebase(session, segment, text)
        session.positions |= {SEGMENT: segment, TEXT: text}

    def sign(self, session: Session) -> None:
        """Do nothing: the lock of the slot says that the writer lives."""

    def names_of(self, session: Session, part: Part) -> Names:
        """Return the names of a segment that have arrived."""
        path = numbered(self._store.journal / session.slot, part.number, DICT)
        return read_dictionary(path).names if path.exists() else Names({}, {})

    def points(self, session: Session, part: Part, skip: int) -> None:
        """Write rows, unpublished until `commit`."""
        path = numbered(self._store.journal / session.slot, part.number, SEGMENT)
        fd, capacity = self._segment(path, part.capacity)
        shift = session.base.row if part.number == session.base.segment else 0
        at, count = part.first + skip - shift, part.last - part.first
        if part.last - shift > capacity:
            raise UploadRefused("a segment grew beyond the room that it had")
        names = read_dictionary(path.with_suffix(DICT)).names
        columns = columns_of(part)
        known = known_ids(names.runs, columns[0]) & known_ids(names.keys, columns[1])
        if not known.all():  # a disk lost them: readers tell it
            columns[0] = np.where(known, columns[0], 0).astype(np.uint32)
        for (_, _, width), where, column in zip(
            COLUMNS, column_offsets(capacity), columns, strict=True
        ):
            if skip < count:
                pwrite(fd, column[skip:].tobytes(), where + at * width)
        self._counts[path] = part.last - shift
        self._end(session, part)

    def text(self, session: Session, part: Part, skip: int) -> None:
        """Append lines."""
        path = numbered(self._store.journal / session.slot, part.number, TEXT)
        base = session.base
        shift = base.offset - HEADER_BYTES if part.number == base.log and base.offset else 0
        pwrite(self._log(path), bytes(part.payload[skip:]), part.first + skip - shift)
        self._end(session, part)

    def _end(self, session: Session, part: Part) -> None:
        session.positions[part.kind] = part.end()
        if part.final:
            self._finals.append((self._store.journal / session.slot, part.number, part.kind))

    def _log(self, path: Path) -> int:
        fd = self._open.get(path)
        if fd is None:
            if not path.exists():
                self._need_room(1 << 20)
                self._fresh.add(path.parent)
            fd = self._open[path] = begin_log(path)
        return fd

    def _segment(self, path: Path, capacity: int) -> tuple[int, int]:
        fd = self._open.get(path)
        if fd is None:
            if not path.exists():
                self._need_room(capacity * ROW_BYTES)
                self._fresh.add(path.parent)
                make_segment(path, capacity)
            fd = self._open[path] = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            return fd, read_head(fd)[0].capacity
        except SegmentDamage as error:
            raise StoreBusy(f"the gateway's copy of a segment is damaged: {error}") from error

    def _need_room(self, size: int) -> None:
        if not self._reserve or not hasattr(os, "statvfs"):
            return
        disk = os.statvfs(self._store.journal)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        if free - size < min(self._reserve, total // 20):
            raise StoreBusy("the gateway's disk is full: it takes nothing until there is room")

    # -- commit ----------------------------------------------------------------------------------

    def commit(self, move: object = None) -> list[tuple[Any, ...]]:
        """Sync everything that was written, publish it, and seal what will not grow; the absorber folds summaries."""
        try:
            self._sync(self._open)
            for path, rows in self._counts.items():
                pwrite(self._open[path], rows.to_bytes(8, sys.byteorder), COUNT_AT)
            self._sync(self._counts)
            for folder in self._fresh:
                sync_folder(folder)
            for folder, number, kind in self._finals:
                self._seal(folder, number, kind)
            return []
        finally:
            self.forget()

    def _sync(self, paths: dict[Path, int]) -> None:
        fds = [self._open[path] for path in paths]
        if len(fds) > 1:
            list(self._pool.map(os.fdatasync, fds))
        elif fds:
            os.fdatasync(fds[0])

    def _seal(self, folder: Path, number: int, kind: str) -> None:
        path = numbered(folder, number, kind)
        if kind == SEGMENT:
            for _ in seal_points(folder, number):
                pass  # told by whoever reads
        elif path.exists():
            seal_log(path)
        if path in self._open:
            os.fdatasync(self._open[path])

    def forget(self) -> None:
        """Close the files of this commit."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._counts.clear()
        self._finals.clear()
        self._fresh.clear()

    def close(self) -> None:
        """Let go of the slots as they are: they are taken again by the next gateway."""
        self._pool.shutdown()
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()
