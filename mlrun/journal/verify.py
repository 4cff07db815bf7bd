"""Checking the journal's files one by one, for `doctor`; reading does not check what it does not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import Finding
from mlrun.journal.files import DICT, SEGMENT, list_numbers, list_slots, numbered
from mlrun.journal.locks import try_lock
from mlrun.journal.mapped import MappedSegment
from mlrun.journal.reclog import Damage, read_log, seal_log
from mlrun.journal.sealing import SegmentDamage
from mlrun.journal.slots import MIRRORED, probe_alive, read_owner, seal_points, tell_cut, where_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["verify_journal", "verify_log", "verify_segment"]


def verify_journal(journal: Path, *, repair: bool = False) -> list[Finding]:
    """Check every file of every slot; what `repair` does is told at the functions below."""
    found: list[Finding] = []
    for slot in list_slots(journal):
        if read_owner(slot) is None and any(list_numbers(slot).values()):
            what = "owner.json is damaged: the slot is absorbed as usual and never claimed again"
            found.append(Finding("note", where_of(slot / "owner.json"), what))
        for kind, numbers in list_numbers(slot).items():
            for number in numbers:
                path = numbered(slot, number, kind)
                check = verify_segment if kind == SEGMENT else verify_log
                found += check(path, repair=repair)
    return found


def verify_segment(path: Path, *, repair: bool = False) -> list[Finding]:
    """Compare a segment with its header, its dictionary and, if it is sealed, its CRCs.

    Args:
        path: the segment; nothing is found where there is none.
        repair: seal it if its writer is dead, so that its points can be absorbed.
    """
    done = _repaired(path, seal_points) if repair else []
    try:
        seg = MappedSegment(path, int(path.stem), verify=True)
    except FileNotFoundError:
        return done
    except SegmentDamage as error:
        return done or [Finding("lost", where_of(path), f"{error}; its points cannot be read")]
    where, found = where_of(path), list(done)
    cut = seg.head.claimed - seg.rows + seg.head.cut
    if cut and not done:
        found.append(Finding("lost", where, f"cut off: {cut} points are lost"))
    if not seg.head.used and any(seg.names) and seg.still_unused():
        found.append(Finding("lost", where, "it is empty, but points were written to it"))
    if seg.head.seal_damaged:
        found.append(Finding("repairable", where, "its seal is damaged; its points can be read"))
    for first, end in seg.bad:
        found.append(Finding("lost", where, f"rows {first} to {end - 1} are not what was written"))
    if nameless := _nameless(seg):
        found.append(Finding("lost", where, f"{nameless} points have ids that {DICT} lacks"))
    return found


def _nameless(seg: MappedSegment) -> int:
    if not seg.rows:
        return 0
    runs, keys, *_ = seg.views()
    return sum(
        (r not in seg.names.runs or k not in seg.names.keys)
        and bool(r or k)  # both 0: left out on purpose
        for r, k in zip(runs, keys, strict=True)
    )


def verify_log(path: Path, *, repair: bool = False) -> list[Finding]:
    """Check every frame of a log (`.rec`, `.txt`, `.dict`).

    Args:
        path: the log; nothing is found where there is none.
        repair: cut a torn tail off (by sealing the file before it) and write a damaged header anew, if the writer is
            dead. A living writer's tail may be an append under way and is left alone.
    """
    alive = probe_alive(
        path.parent
    )  # first: an append that is under way is over when its writer is gone
    try:
        damage = read_log(path).scan().damage
    except FileNotFoundError:
        return []
    if repair and any(d.kind != "lost" for d in damage):
        done = _repaired(path, lambda folder, number: tell_cut(path, seal_log(path)))
        if done:
            return done
    return [_unrepaired(path, d) for d in damage if not (alive and d.kind == "torn")]


def _unrepaired(path: Path, damage: Damage) -> Finding:
    start, end, kind = damage
    if kind == "lost":
        return Finding("lost", where_of(path), f"bytes {start} to {end} are damaged")
    if kind == "torn":
        what = f"a torn append of {end - start} bytes at its end; it was not acknowledged"
        return Finding("repairable", where_of(path), what)
    return Finding("repairable", where_of(path), "its header is damaged")


def _repaired(path: Path, seal: Callable[[Path, int], Iterator[Finding]]) -> list[Finding]:
    """Seal the file while holding its slot; nothing where somebody else holds it, or where only a gateway may."""
    owner = read_owner(path.parent)
    if owner is not None and owner.boot_id == MIRRORED:
        return []
    lock = try_lock(path.parent / "lock")
    if lock is None:
        return []
    try:
        return list(seal(path.parent, int(path.stem)))
    finally:
        lock.release()
