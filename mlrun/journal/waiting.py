"""When enough waits in the journal: start an absorber beside the training process, never inside it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from mlrun.journal.detached import reap, start_detached
from mlrun.journal.files import list_slots
from mlrun.journal.slots import probe_alive

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.store import Store

__all__ = ["MAX_BYTES", "MAX_WRITERS", "absorb_in_background", "is_due", "waiting"]

MAX_BYTES = 64 << 20
MAX_WRITERS = 32
_EVERY = 1.0  # seconds between two looks of one process
_last_look: dict[str, float] = {}


def waiting(journal: Path, *, living: bool = False) -> tuple[int, int]:
    """Return (writers that have ended and left files to absorb, bytes in files that nobody writes to any more).

    Args:
        journal: the journal's folder.
        living: count writers that live, and the files that they write to, as well.
    """
    writers = size = 0
    for slot in list_slots(journal):
        files: dict[str, list[tuple[str, int]]] = {}
        try:
            with os.scandir(slot) as entries:
                for entry in entries:
                    if entry.name.endswith((".seg", ".rec", ".txt")):
                        found = (entry.name, entry.stat().st_size)
                        files.setdefault(entry.name[-4:], []).append(found)
        except FileNotFoundError:
            continue  # absorbed while we looked
        alive = bool(files) and not living and probe_alive(slot)
        writers += bool(files) and not alive
        # the newest file of each kind is the one that a living writer has open, at its full length from the start
        settled = [sorted(of_kind)[:-1] if alive else of_kind for of_kind in files.values()]
        size += sum(bytes_ for of_kind in settled for _, bytes_ in of_kind)
    return writers, size


def is_due(journal: Path, *, on_network: bool = False) -> bool:
    """Whether an absorber is worth its start: 32 writers that have ended, or 64 MB, wait.

    On a network file system any writer will do, and where records are remote: only this host can absorb its journal,
    and others see nothing of it before.
    """
    found, size = waiting(journal, living=on_network)
    return found >= (1 if on_network else MAX_WRITERS) or size >= MAX_BYTES


def absorb_in_background(store: Store) -> bool:
    """Start a detached, niced absorber if it is due; returns whether one was started.

    A second one that starts meanwhile finds the lock taken and ends. The child outlives this process.
    """
    key, now = str(store.journal), time.monotonic()
    if now - _last_look.get(key, -_EVERY) < _EVERY:
        return False
    _last_look[key] = now
    reap()
    if not is_due(store.journal, on_network=store.on_network or store.remote_records):
        return False
    start_detached("mlrun.journal.absorber", str(store.folder), **store.variables())
    return True
