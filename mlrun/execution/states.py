"""States of a run, and which may follow which.

```
created ── pending ── running ─┬─ completed
              │          │     ├─ error ──────┐
              │          │     ├─ skipped     ├─ pending_retry ── running
              │          │     └─ lost ───────┘
              └──────────┴─ aborting ── aborted
```

The process that performs a run writes `running` and the end into its journal. Everybody else (a driver that saw a
worker die, a person who aborts) moves a state with `move`: after everything that was written before, only along an
arrow, and only if it still is what was looked at. Of two who move a run at once, from whatever hosts, one wins, and the
other finds what the first has made of it. A run whose writer is gone reads as `lost`, or `aborted` if it was asked to
abort; it returns to `running` when a writer is heard again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.errors import MlrunError, NotFound, RowConflict, StoreBusy
from mlrun.ids import now_us
from mlrun.lookup.liveness import OPEN_STATES, state_without_writer
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrun.store import Store

__all__ = ["ENDED", "FOLLOWS", "IllegalMove", "move", "read_row", "state_of"]

_TRIES = 20
ENDED = frozenset({"completed", "error", "aborted", "lost", "skipped"})

FOLLOWS: dict[str, frozenset[str]] = {
    "created": frozenset({"pending", "running", "skipped", "aborting", "aborted", "error", "lost"}),
    "pending": frozenset({"running", "skipped", "aborting", "aborted", "error", "lost"}),
    "running": frozenset(
        {"completed", "error", "aborting", "aborted", "lost", "skipped", "pending_retry"}
    ),
    "pending_retry": frozenset({"pending", "running", "aborting", "aborted", "error", "lost"}),
    "aborting": frozenset({"aborted", "completed", "error", "lost"}),
    "lost": frozenset({"running", "pending_retry", "error", "aborted"}),
    "error": frozenset({"running", "pending_retry"}),
    "aborted": frozenset({"running", "pending_retry"}),
    "completed": frozenset({"running"}),
    "skipped": frozenset({"running"}),
}


class IllegalMove(MlrunError):
    """A run cannot go from the state that it is in to the one that was asked for.

    Attributes:
        state: the state that it is in.
    """

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


def read_row(store: Store, run_id: str, *, flush: bool = True) -> dict[str, Any]:
    """Return the stored row of a run, what waits in the journal included (unless `flush` is off).

    Raises:
        NotFound: no such run.
    """
    if flush:
        store.flush_records()
    rows = store.records.lookup(RUNS, {"run_id": run_id})
    if not rows:
        raise NotFound(f"no run {run_id!r} in {store.url}")
    return rows[0]


def state_of(store: Store, row: dict[str, Any]) -> str:
    """Return the state that a row means: of an open run without a living writer, how that ends."""
    from mlrun.tracking.resume import is_owned_elsewhere

    state = str(row["state"])
    if state not in OPEN_STATES or not row["writer"] or is_owned_elsewhere(store, row):
        return state
    return state_without_writer(state)


def move(
    store: Store,
    run_id: str,
    to: str,
    *,
    error: str | None = None,
    only_from: Iterable[str] | None = None,
    **columns: Any,
) -> str:
    """Bring a run into a state, durably; returns the state that it was in.

    Args:
        store: where it is.
        run_id: which run.
        to: the new state; a run that is in it already stays as it is.
        error: why, for people.
        only_from: states from which alone it is moved.
        **columns: further columns of its row.

    Raises:
        IllegalMove: its state cannot be followed by `to`, or is none of `only_from`.
        NotFound: no such run.
    """
    store.prepare()
    known = None if only_from is None else frozenset(only_from)
    for _ in range(_TRIES):
        try:
            return _move(store, run_id, to, error, known, columns)
        except RowConflict:
            continue  # somebody else moved it in between: what is allowed now?
    raise StoreBusy(f"run {run_id!r} keeps changing its state")


def _move(
    store: Store,
    run_id: str,
    to: str,
    error: str | None,
    only_from: frozenset[str] | None,
    columns: dict[str, Any],
) -> str:
    with FileLock(store.journal / "states.lock"):  # those of this host take turns
        row = read_row(store, run_id)
        now = state_of(store, row)
        if now == to == row["state"]:
            return now
        allowed = to in FOLLOWS.get(now, ()) or now == to
        if not allowed or (only_from is not None and now not in only_from):
            raise IllegalMove(f"run {row['name']!r} is {now}: it cannot become {to}", now)
        stamp = now_us()
        new: dict[str, Any] = {"run_id": run_id, "state": to, "updated_at": stamp, **columns}
        if to in ENDED:
            new["finished_at"] = row["finished_at"] or stamp
        if error is not None:
            new["error"] = error
        # and of others, on whatever host, only one moves it from here
        seen = {"run_id": run_id, "state": row["state"], "writer": row["writer"]}
        try:
            store.records.apply([("expect", RUNS.name, seen), ("put", RUNS.name, new)])
        except RowConflict:
            # an answer that was lost on the way makes a client ask again: then it was itself who was first
            if not _is_there(store, run_id, new):
                raise
    return now


def _is_there(store: Store, run_id: str, new: dict[str, Any]) -> bool:
    rows = store.records.lookup(RUNS, {"run_id": run_id})
    return bool(rows) and all(rows[0][c] == v for c, v in new.items())
