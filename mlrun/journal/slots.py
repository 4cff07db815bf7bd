"""Writer slots: claiming, probing, adopting, releasing. The law is in `mlrun.journal`."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrun.contracts import Finding
from mlrun.ids import now_us
from mlrun.journal.aside import let_go
from mlrun.journal.files import (
    DICT,
    LOG,
    SEGMENT,
    TEXT,
    list_numbers,
    list_slots,
    numbered,
    sync_folder,
)
from mlrun.journal.host import boot_id, host_name, machine_id
from mlrun.journal.locks import SlotLock, is_locked, try_lock
from mlrun.journal.netfs import is_network
from mlrun.journal.reclog import Damage, seal_log
from mlrun.journal.sealing import SegmentDamage, seal_segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "HEARTBEAT_DEAD",
    "HEARTBEAT_EVERY",
    "MIRRORED",
    "Adoption",
    "Owner",
    "Slot",
    "adopt",
    "claim",
    "free_slot",
    "probe_alive",
    "read_owner",
    "seal_points",
    "seal_slot",
    "tell_cut",
    "where_of",
    "write_owner",
]

HEARTBEAT_EVERY = 30.0  # seconds
MIRRORED = "mirrored"  # boot id of a writer elsewhere whose slot a gateway fills: only that gateway seals it
HEARTBEAT_DEAD = 300.0  # seconds without one: a writer of another host is dead
_RESERVE = 64  # numbers given out for one write of owner.json
_NUMBERED = (SEGMENT, LOG, TEXT)


@dataclass(frozen=True)
class Owner:
    """What `owner.json` says: who claimed the slot last, and below which numbers files may have been made."""

    claim: int
    host: str
    machine_id: str
    boot_id: str
    pid: int
    started_at: int
    reserved: dict[str, int] = field(default_factory=dict)

    @property
    def here(self) -> bool:
        """Whether the flock of this owner can be seen from here: same kernel, or an earlier boot of the machine."""
        return self.boot_id == boot_id() or self.machine_id == machine_id()


def read_owner(folder: Path) -> Owner | None:
    """Return who claimed the slot last; None when that is not readable (then nobody may claim it again)."""
    try:
        raw = json.loads((folder / "owner.json").read_bytes())
        owner = Owner(**raw)
        if owner.claim < 1 or any(owner.reserved[k] < 1 for k in _NUMBERED):
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None  # lost or damaged: numbers are not known any more, so the slot retires
    return owner


class Slot:
    """A slot that this process holds.

    Attributes:
        folder: where the files are made.
        claim: how often the slot was claimed, this time included.
    """

    def __init__(
        self, folder: Path, lock: SlotLock, owner: Owner, first: Mapping[str, int]
    ) -> None:
        self.folder = folder
        self.claim = owner.claim
        self._lock = lock
        self._owner = owner
        self._next = dict(first)
        self._reserved = dict(owner.reserved)

    def next_number(self, kind: str) -> int:
        """Number that the next file of this kind gets; not taken yet."""
        return self._next[kind]

    def take_number(self, kind: str) -> int:
        """Take the next number for a file of this kind; it is never given out again. Not thread-safe.

        Raises:
            OSError: the reservation could not be written.
        """
        number = self._next[kind]
        if number >= self._reserved[kind]:
            raised = {**self._reserved, kind: number + _RESERVE}
            self._write(raised)
            self._reserved = raised
        self._next[kind] = number + 1
        return number

    def _write(self, reserved: dict[str, int], *, sync: bool = True) -> None:
        write_owner(self.folder, Owner(**{**self._owner.__dict__, "reserved": reserved}), sync=sync)

    def beat(self) -> None:
        """Write the heartbeat that other hosts look at."""
        _replace(self.folder / "heartbeat", str(now_us()).encode(), sync=False)

    def release(self) -> None:
        """Let the slot go. Its numbers stay taken; idempotent."""
        try:
            if any(self._next[k] < self._reserved[k] for k in _NUMBERED):
                self._write(dict(self._next), sync=False)  # gives back what was not used
        except OSError:
            pass  # a full disk: the numbers stay reserved, which only leaves a gap
        self._lock.release()

    def forget(self) -> None:
        """In a forked child: close the copy; the parent's lock stays."""
        self._lock.forget()


def write_owner(folder: Path, owner: Owner, *, sync: bool) -> None:
    """Replace `owner.json`; for who holds the slot's lock."""
    _replace(folder / "owner.json", json.dumps(owner.__dict__).encode(), sync=sync)


def _replace(path: Path, data: bytes, *, sync: bool) -> None:
    fresh = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        try:
            os.write(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def _new_owner(before: Owner | None) -> Owner:
    reserved = dict(before.reserved) if before else dict.fromkeys(_NUMBERED, 1)
    return Owner(
        claim=before.claim + 1 if before else 1,
        host=host_name(),
        machine_id=machine_id(),
        boot_id=boot_id(),
        pid=os.getpid(),
        started_at=now_us(),
        reserved={k: n + _RESERVE for k, n in reserved.items()},
    )


def claim(journal: Path) -> Slot:
    """Take the first slot that is free, or make one.

    Raises:
        OSError: the folder cannot be written, or its file system has no locks.
    """
    journal.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in list_slots(journal):
        slot = free_slot(folder)
        if slot is not None:
            return slot
    while True:
        folder = journal / f"w-{os.urandom(6).hex()}"
        folder.mkdir(mode=0o700)
        lock = try_lock(folder / "lock", create=True)
        if lock is None:
            continue  # a probe was quicker by a hair; this name stays an empty folder
        return _take(folder, lock, None)


def free_slot(folder: Path) -> Slot | None:
    """Take this slot if nobody holds it and nothing is left in it to absorb; None otherwise."""
    if any(list_numbers(folder).values()):
        return None
    lock = try_lock(folder / "lock")
    if lock is None:
        return None
    owner = read_owner(folder)
    if owner is None or not owner.here or any(list_numbers(folder).values()):
        lock.release()
        return None
    return _take(folder, lock, owner)


def _take(folder: Path, lock: SlotLock, before: Owner | None) -> Slot:
    try:
        owner = _new_owner(before)
        # A new folder that a power loss undoes took its numbers with it; an old one's must not come back.
        write_owner(folder, owner, sync=before is not None)
        return Slot(folder, lock, owner, before.reserved if before else dict.fromkeys(_NUMBERED, 1))
    except BaseException:
        lock.release()
        if before is None:
            _remove_new(folder)
        raise


def _remove_new(folder: Path) -> None:
    """Remove a folder in which nothing was ever made (a full disk), so that tries leave no trace."""
    try:
        (folder / "lock").unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        pass  # an empty folder stays; without an owner nobody ever takes it


def probe_alive(folder: Path) -> bool:
    """Tell whether a process holds the slot.

    The flock says it. Only on a network file system, whose locks may not reach other hosts, a writer of another host
    counts as alive until its heartbeat is five minutes old.
    """
    owner = read_owner(folder)
    if owner is not None and _adopted(folder) == owner.claim:
        return False  # the lock, if it is held, is held by who adopts
    mirrored = owner is not None and owner.boot_id == MIRRORED  # its lock is of this host
    if owner is not None and not mirrored and not owner.here and is_network(folder):
        return _heard_of(folder, owner)
    return is_locked(folder / "lock")


def _adopted(folder: Path) -> int:
    """Return the last claim that somebody saw dead; 0 for none."""
    try:
        return int((folder / "adopted").read_bytes())
    except (OSError, ValueError):
        return 0  # never adopted


def _heard_of(folder: Path, owner: Owner) -> bool:
    path = folder / "heartbeat"
    try:
        last = max(int(path.read_bytes()) / 1e6, path.stat().st_mtime)
    except (OSError, ValueError):
        last = owner.started_at / 1e6  # no heartbeat yet, or a torn one
    return time.time() - last < HEARTBEAT_DEAD


@dataclass
class Adoption:
    """A dead writer's slot, held: all of its files are sealed and no process can claim it meanwhile."""

    folder: Path
    findings: list[Finding]


@contextmanager
def adopt(folder: Path) -> Iterator[Adoption | None]:
    """Hold a dead writer's slot and seal what it left open; None when its writer lives, or somebody else adopts.

    Torn tails are cut by the seal and told in `findings`.
    """
    owner = read_owner(folder)
    if owner is not None and not owner.here and is_network(folder) and _heard_of(folder, owner):
        yield None
        return
    if owner is not None and owner.boot_id == MIRRORED:
        yield None  # its writer may go on where it stopped, however long nobody holds the lock
        return
    lock = try_lock(folder / "lock")
    if lock is None:
        yield None
        return
    try:
        owner = read_owner(
            folder
        )  # again: between the first look and the lock it may have been claimed and let go
        if owner is not None and _adopted(folder) != owner.claim:
            with suppress(
                OSError
            ):  # a full disk: the dead claim looks alive while we hold its lock
                _replace(folder / "adopted", str(owner.claim).encode(), sync=False)
        yield Adoption(folder, list(seal_slot(folder)))
    finally:
        lock.release()


def seal_slot(folder: Path) -> Iterator[Finding]:
    """Seal every file of a held slot; one that cannot be opened is told, and holds the others up no longer."""
    found = list_numbers(folder)
    for number in found[SEGMENT]:
        yield from _as_far_as_possible(
            numbered(folder, number, SEGMENT), seal_points(folder, number)
        )
    for kind in (LOG, TEXT):
        for number in found[kind]:
            path = numbered(folder, number, kind)
            yield from _as_far_as_possible(path, _seal_records(path))
    for number in found[DICT]:
        if not numbered(folder, number, SEGMENT).exists():
            numbered(folder, number, DICT).unlink(missing_ok=True)  # of a segment that is gone


def _as_far_as_possible(path: Path, sealing: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from sealing
    except OSError as error:
        what = f"it could not be sealed ({error.strerror}) and waits in the journal"
        yield Finding("repairable", where_of(path), what)


def _seal_records(path: Path) -> Iterator[Finding]:
    try:
        yield from tell_cut(path, seal_log(path))
        if not path.stat().st_size:
            path.unlink()
    except FileNotFoundError:
        return  # it was sealed before, and absorbed meanwhile


def seal_points(folder: Path, number: int) -> Iterator[Finding]:
    """Seal a segment and its dictionary."""
    path, names = numbered(folder, number, SEGMENT), numbered(folder, number, DICT)
    try:
        head = seal_segment(path)
    except SegmentDamage as error:
        yield Finding("lost", where_of(path), f"{error}; its points cannot be read")
        return
    except FileNotFoundError:
        return  # absorbed meanwhile: it was sealed
    if not head.used:
        named = names.exists()  # a dictionary begins behind the header of its segment
        let_go(path, names, damaged=named)
        if named:
            yield Finding("lost", where_of(path), "it is empty, but points were written to it")
        return
    if cut := head.claimed - head.rows + head.cut:
        yield Finding("lost", where_of(path), f"cut off: {cut} points are lost")
    if head.seal_damaged:
        yield Finding(
            "repaired", where_of(path), "its seal was damaged; it was sealed anew, unchecked"
        )
    with suppress(FileNotFoundError):  # absorbed meanwhile
        yield from tell_cut(names, seal_log(names))


def tell_cut(path: Path, damage: list[Damage]) -> Iterator[Finding]:
    """Say what sealing a log met."""
    for start, end, kind in damage:
        if kind == "lost":
            yield Finding("lost", where_of(path), f"bytes {start} to {end} are damaged")
        elif kind == "torn":
            what = f"a torn append of {end - start} bytes was cut; it had not been acknowledged"
            yield Finding("repaired", where_of(path), what)
        else:
            yield Finding("repaired", where_of(path), "its header was damaged and was written anew")


def where_of(path: Path) -> str:
    """Name a file of the journal as findings do, relative to the store."""
    return f"journal/{path.parent.name}/{path.name}"
