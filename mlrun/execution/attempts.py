"""Attempts: a run that may be tried again. The run itself is its driver's; every attempt is a child run of it.

The parent goes running -> pending_retry -> running with every further attempt, and ends as the last one ended, with its
results and artifacts. Each attempt keeps its own points, log and error.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.execution.interrupt import Guard, guarded
from mlrun.execution.states import move
from mlrun.ids import uuid7
from mlrun.tables import LINEAGE, RUNS
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run
from mlrun.view import RunView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.dispatch import Dispatch
    from mlrun.execution.task import Task
    from mlrun.tracking.run import Run

__all__ = ["attempt_label", "perform_attempts"]

attempt_label = "mlrun/retry-attempt"
_STEP = 0.1  # seconds of one step of a wait


def perform_attempts(
    dispatch: Dispatch,
    task: Task,
    values: Mapping[str, Any] | None = None,
    *,
    first: int = 0,
    taken: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Perform a task until an attempt succeeds or none is left; returns the outcome of the last, for the parent.

    Args:
        dispatch: how an attempt is performed.
        task: what is performed; its run is the parent.
        values: inputs that travel as values.
        first: number of the first attempt made here.
        taken: the parent's stored row, if it is there already.
    """
    parent = _open_parent(dispatch, task, taken)
    outcome: dict[str, Any] = {"state": "error", "results": {}, "error": "no attempt was made"}
    try:
        with guarded(parent) as guard:
            for number in range(first, first + dispatch.retry.count + 1):
                if number > first:
                    _wait(dispatch, parent, guard, number - first)
                outcome = dispatch.attempt(_child(task, number), values)
                guard.check()
                if outcome["state"] != "error":
                    break
        state, error = outcome["state"], outcome["error"]
    except BaseException as failure:  # the run ends whatever happens to its driver
        state, error = lifecycle.outcome_of(failure)
        _adopt(parent, outcome)
        parent.end(state, error or str(failure))
        if isinstance(failure, MlrunError | SystemExit) or not guard.why:
            raise
        return {**outcome, "run_id": task.run_id, "state": state, "error": error}
    _adopt(parent, outcome)
    parent.end(state, error)
    return {**outcome, "run_id": task.run_id, "iteration": task.iteration}


def _open_parent(dispatch: Dispatch, task: Task, taken: Mapping[str, Any] | None) -> Run:
    store = dispatch.store
    found = taken
    if found is None:
        rows = store.records.lookup(RUNS, {"run_id": task.run_id})
        found = rows[0] if rows else {}
    about = About() if found else About(
        name=task.name, config=task.params or None, tags=task.tags, labels=task.labels or None,
        parent=task.parent, notes=task.notes, kind=task.kind, function=task.function_uri or None,
        iteration=task.iteration,
    )  # fmt: skip
    run = open_run(store, task.open_settings(), about, run_id=task.run_id, taken=found)
    if not found:
        run.set_provenance({"task": task.record()})
    return run


def _child(task: Task, number: int) -> Task:
    return task.but(
        run_id=uuid7(),
        parent=task.run_id,
        attempt=number,
        iteration=None,
        labels={**task.labels, attempt_label: number},
    )


def _wait(dispatch: Dispatch, parent: Run, guard: Guard, number: int) -> None:
    """Wait before attempt `number`, in the state that says so."""
    move(dispatch.store, parent.id, "pending_retry")
    end = time.monotonic() + dispatch.retry.delay(number)
    while (left := end - time.monotonic()) > 0:
        guard.check()
        time.sleep(min(_STEP, left))
    guard.check()
    move(dispatch.store, parent.id, "running")


def _adopt(parent: Run, outcome: Mapping[str, Any]) -> None:
    """Let the parent show the results, artifacts and last metrics of an attempt."""
    if not outcome.get("run_id") or parent.store is None:
        return
    if outcome["results"]:
        parent.log_results(outcome["results"])
    parent.store.flush_records()
    made = parent.store.records.lookup(LINEAGE, {"run_id": outcome["run_id"]})
    parent.record([("put", LINEAGE.name, {**row, "run_id": parent.id}) for row in made])
    shown = RunView(parent.store, outcome["run_id"])
    for row in shown.summaries.iter_rows(named=True):
        parent.log({row["key"]: shown.summary[row["key"]]}, step=row["last_step"])
