"""Iterations that are still open when their job has ended: nobody performs them any more, so they are ended here."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mlrun.execution.states import ENDED, IllegalMove, move
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Collection

    from mlrun.store import Store

__all__ = ["abort_children", "end_children", "fail_children"]


def end_children(store: Store, run_id: str, why: str) -> None:
    """End every iteration of a job that is not at its end as aborted; whoever performed it is gone."""
    for child in _open(store, run_id):
        with suppress(IllegalMove):  # it has ended meanwhile
            move(store, child, "aborted", error=why)


def fail_children(store: Store, run_id: str, iterations: Collection[int], why: str) -> None:
    """End those of these iterations that are not at their end as errors: whoever performed them has died."""
    for child, iteration in _open(store, run_id).items():
        if iteration in iterations:
            with suppress(IllegalMove):
                move(store, child, "error", error=why)


def abort_children(store: Store, run_id: str, why: str) -> None:
    """Ask every iteration that is being performed to end; its own process hears it."""
    for child in _open(store, run_id):
        with suppress(IllegalMove):
            move(store, child, "aborting", error=why)


def _open(store: Store, run_id: str) -> dict[str, int | None]:
    """Return the iterations that are not at their end, by run."""
    store.flush_records()
    rows = store.records.lookup(RUNS, {"parent": run_id})
    return {row["run_id"]: row["iteration"] for row in rows if row["state"] not in ENDED}
