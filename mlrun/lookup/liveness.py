"""Which runs are open, and whether the process that writes them lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.ids import now_us

if TYPE_CHECKING:
    from collections.abc import Collection

    from mlrun.journal.snapshot import JournalSnapshot

__all__ = ["OPEN_STATES", "SILENCE_US", "is_alive", "state_without_writer"]

SILENCE_US = 300_000_000  # without a sign for so long, the run of another host is lost
OPEN_STATES = ("created", "pending", "running", "aborting", "pending_retry")


def state_without_writer(state: str) -> str:
    """Return how an open run has ended whose writer is dead: lost, or aborted when that was asked for.

    Example:
        >>> state_without_writer("running"), state_without_writer("aborting")
        ('lost', 'aborted')
    """
    return "aborted" if state == "aborting" else "lost"


def is_alive(
    journal: JournalSnapshot,
    writer: str,
    heard_us: int | None = None,
    *,
    adopted: Collection[str] = (),
) -> bool:
    """Whether the claim `name#number` on a writer slot is still held by the process that made it.

    A claim that is newer than the listing was made after it, so its owner lives as far as anybody can know; an older
    one has ended, because slots are claimed one after the other. A slot that is not in this journal belongs to another
    host (on a network file system every host has its own), whose runs give a sign of life every minute.

    Args:
        journal: a listing of the journal.
        writer: what the run's row says.
        heard_us: when the run was last heard of (its `updated_at`), in microseconds.
        adopted: slots whose lock an absorber, not a writer, holds now.
    """
    name, _, number = writer.partition("#")
    claim = int(number or 0)
    info = journal.writers.get(name)
    if info is None:
        recently = heard_us is not None and now_us() - heard_us < SILENCE_US
        return recently or (journal.folder / name).exists()
    if claim == info.claim:
        return info.alive and name not in adopted
    return claim > info.claim
