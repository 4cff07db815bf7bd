"""abort: ends a run from any process, whoever performs it.

`aborting` is written into the store; from then on several hear it. The process that performs the run looks at its state
and interrupts the handler (`mlrun.execution.interrupt`); the driver that waits for it cancels the job after a grace,
which kills the process; of a run whose driver is gone, what performs it is found here: a job that outlives its driver
by its label, a process of this host by the claim that the run's writer holds. Child runs that are open go first.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.execution.law import CanReattach
from mlrun.execution.states import ENDED, IllegalMove, move, read_row, state_of
from mlrun.lookup.liveness import OPEN_STATES
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["EXECUTOR_LABEL", "JOB_LABEL", "WORKER_LABEL", "abort_run"]

EXECUTOR_LABEL = "mlrun/executor"
JOB_LABEL = "mlrun/job"
WORKER_LABEL = "mlrun/worker"

_LOOK = 0.1  # seconds
_PATIENCE = 10.0  # seconds before the process of a run that nobody cancels is killed


def abort_run(
    store: Store, run_id: str, *, reason: str | None = None, timeout: float | None = 30.0
) -> str:
    """Abort a run and wait until it has ended; returns the state that it ended in.

    Args:
        store: where it is.
        run_id: which run.
        reason: why, for people; stored as its error.
        timeout: seconds to wait; None for as long as it takes, 0 not to wait.

    Raises:
        TimeoutError: it has not ended by then; it stays `aborting`.
        NotFound: no such run.
    """
    began = time.monotonic()
    if not _ask(store, run_id, reason):
        return state_of(store, read_row(store, run_id))
    for row in _open_children(store, run_id):
        _ask(store, row["run_id"], reason)
    reached = False
    while True:
        row = read_row(store, run_id)
        state = state_of(store, row)
        if state in ENDED:
            return _ended(store, run_id, state, row, reason)
        if state != "aborting":  # its worker began in the same moment, and wrote `running` over it
            _ask(store, run_id, reason)
        elapsed = time.monotonic() - began
        if timeout is not None and elapsed >= timeout:
            if timeout == 0:
                return state
            raise TimeoutError(f"run {row['name']!r} is still {state} after {timeout:g} s")
        if not reached and elapsed > _PATIENCE:
            reached = True
            _reach(store, row)
        time.sleep(_LOOK)


def _ask(store: Store, run_id: str, reason: str | None) -> bool:
    """Write that the run is to end; False if it has."""
    try:
        before = move(store, run_id, "aborting", error=reason)
    except IllegalMove as error:
        if error.state not in ENDED:
            raise
        return False
    row = read_row(store, run_id, flush=False)
    unheld = not row["writer"] and (before == "pending" or job_of(row) is None)
    if before == "created" or unheld:
        with suppress(IllegalMove):  # nobody has it in hand
            move(store, run_id, "aborted", error=reason)
    elif job_of(row) is not None:
        _reach(store, row)
    return True


def _open_children(store: Store, run_id: str) -> list[dict[str, Any]]:
    rows = store.records.lookup(RUNS, {"parent": run_id})
    return [r for r in rows if r["state"] in OPEN_STATES]


def _ended(store: Store, run_id: str, state: str, row: dict[str, Any], reason: str | None) -> str:
    if row["state"] != state:  # only derived so far
        with suppress(IllegalMove):
            move(store, run_id, state, error=row["error"] or reason)
    return state


def job_of(row: dict[str, Any]) -> tuple[str, str] | None:
    """Return (executor, job id) of a run whose job can be found again by other processes."""
    labels = _labels(row)
    if labels.get(EXECUTOR_LABEL) and labels.get(JOB_LABEL):
        return str(labels[EXECUTOR_LABEL]), str(labels[JOB_LABEL])
    return None


def _labels(row: dict[str, Any]) -> dict[str, Any]:
    import json

    try:
        found = json.loads(row["labels"] or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reach(store: Store, row: dict[str, Any]) -> None:
    """End what performs the run, without its driver."""
    job = job_of(row)
    if job is not None:
        from mlrun.execution.places import place

        with suppress(MlrunError):
            executor = place(job[0])
            if isinstance(executor, CanReattach):
                executor.job(job[1]).cancel()
        return
    if _labels(row).get(WORKER_LABEL):
        _kill_writer(store, row)


def _kill_writer(store: Store, row: dict[str, Any]) -> None:
    """Kill the worker process that holds the claim of the run's writer, if it is one of this host."""
    from mlrun.journal.slots import probe_alive, read_owner

    name, _, claim = (row["writer"] or "").partition("#")
    folder = store.journal / name
    owner = read_owner(folder) if name else None
    if owner is None or str(owner.claim) != claim or not owner.here or not probe_alive(folder):
        return
    if owner.pid != os.getpid():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(owner.pid, signal.SIGKILL)
