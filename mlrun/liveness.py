"""Which runs are open, and whether the process that writes them lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from mlrun.journal.snapshot import JournalSnapshot

__all__ = ["OPEN_STATES", "is_alive"]

OPEN_STATES = ("created", "pending", "running", "aborting", "pending_retry")


def is_alive(journal: JournalSnapshot, writer: str, *, adopted: Collection[str] = ()) -> bool:
    """Whether the claim `name#number` on a writer slot is still held by the process that made it.

    A claim that is newer than the listing was made after it, so its owner lives as far as anybody can know; an older
    one has ended, because slots are claimed one after the other.

    Args:
        journal: a listing of the journal.
        writer: what the run's row says.
        adopted: slots whose lock an absorber, not a writer, holds now.
    """
    name, _, number = writer.partition("#")
    claim = int(number or 0)
    info = journal.writers.get(name)
    if info is None:
        return (journal.folder / name).exists()
    if claim == info.claim:
        return info.alive and name not in adopted
    return claim > info.claim
