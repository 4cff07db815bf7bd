"""Freeing unused objects of a bucket while others put the same bytes, without locks that a bucket does not have.

`put` and `sweep` leave each other notes, in names beside the objects:

    touched/3f/3fc9…   "somebody was given this object just now"; its time counts as the object's
    sweeping/3f        "objects that begin with 3f are being freed"; for a minute or two at most

A put that finds its object there writes the touch, then looks for the sweep's note, then looks once more for the
object. A sweep writes its note, then lists objects and touches, then frees. Whoever comes second sees the other:
either the sweep sees the touch and keeps the object, or the put sees the note, waits, finds the object gone and stores
it anew.
Ages are told by the bucket's clock alone.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["SIDE_FOLDERS", "names_below", "sweep", "touch", "wait_for_sweep"]

SIDE_FOLDERS = ("damaged", "sweeping", "touched")
_BUDGET = 25.0  # seconds from a sweep's note to its deleting; then it gives up
_LEASE = 180.0  # seconds after which a note is a dead sweep's: budget, and time for the last request's retries
_POLL = 0.05
_STALE = 3600.0  # of a note met by another sweep, which does not wait for it


def touch(store: Any, sha256: str) -> None:
    """Note that an object is asked for at this moment."""
    import obstore

    obstore.put(store, f"touched/{sha256[:2]}/{sha256}", b"", use_multipart=False)


def wait_for_sweep(store: Any, sha256: str) -> bool:
    """Wait until nobody frees objects of this beginning; False if nobody did."""
    import obstore

    note = f"sweeping/{sha256[:2]}"
    seen: dict[Any, float] = {}
    waited = False
    while True:
        try:
            found = obstore.head(store, note)
        except FileNotFoundError:
            return waited
        waited = True
        now = time.monotonic()
        # the same note all the time: who wrote it is dead
        if now - seen.setdefault((found["e_tag"], found["last_modified"]), now) > _LEASE:
            with suppress(FileNotFoundError):
                obstore.delete(store, note)
        time.sleep(_POLL)


def sweep(store: Any, keep: Collection[str], older_s: float) -> tuple[int, int]:
    """Free what is not in `keep` and was last put more than `older_s` seconds ago; returns objects and bytes."""
    parts = {
        name[:2]
        for name, _ in names_below(store)
        if not name.startswith(SIDE_FOLDERS) and name.rsplit("/", 1)[-1] not in keep
    }
    count = freed = 0
    for part in sorted(parts):
        objects, size = _sweep_part(store, part, keep, older_s)
        count, freed = count + objects, freed + size
    return count, freed


def _sweep_part(store: Any, part: str, keep: Collection[str], older_s: float) -> tuple[int, int]:
    import obstore
    from obstore.exceptions import AlreadyExistsError

    note = f"sweeping/{part}"
    try:
        obstore.put(store, note, b"", mode="create", use_multipart=False)
    except AlreadyExistsError:
        with suppress(FileNotFoundError):
            if time.time() - obstore.head(store, note)["last_modified"].timestamp() > _STALE:
                obstore.delete(store, note)
        return 0, 0  # another sweep is at it
    begun = time.monotonic()
    try:
        now = obstore.head(store, note)["last_modified"].timestamp()
        touched = {
            name.rsplit("/", 1)[-1]: found["last_modified"].timestamp()
            for name, found in names_below(store, f"touched/{part}/")
        }
        unused: dict[str, int] = {}
        for name, found in names_below(store, f"{part}/"):
            sha256 = name.rsplit("/", 1)[-1]
            last = max(found["last_modified"].timestamp(), touched.get(sha256, 0.0))
            if sha256 not in keep and last <= now - older_s:
                unused[name] = found["size"]
        old = [f"touched/{part}/{s}" for s, at in touched.items() if at <= now - older_s]
        if time.monotonic() - begun > _BUDGET:
            return 0, 0
        _delete(store, [*unused, *old])
        return len(unused), sum(unused.values())
    finally:
        with suppress(FileNotFoundError):
            obstore.delete(store, note)


def names_below(store: Any, folder: str = "") -> Iterator[tuple[str, Any]]:
    """Yield name and metadata of every object of a folder, in order of the name."""
    import obstore

    for batch in obstore.list(store, folder or None):
        for found in batch:
            yield found["path"], found


def _delete(store: Any, names: list[str]) -> None:
    import obstore

    for start in range(0, len(names), 1000):
        obstore.delete(store, names[start : start + 1000])
