"""Trials in batches: what a worker does with several iterations of one job, one after another.

A trial of a millisecond must not cost a trip to a worker and a transaction each: they travel together, and what they
recorded is absorbed once, when the batch ends. Every trial is a run of its own all the same, durable from its start.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.execution.perform import perform
from mlrun.execution.task import Task
from mlrun.hyper.expression import Condition
from mlrun.hyper.heard import hearing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BatchSize", "Trial", "perform_batch", "trial_task"]

_SECONDS = 0.3  # that a batch should take: long against a trip, short against a person's patience
_MOST = 64


@dataclass(frozen=True)
class Trial:
    """One iteration: its number (from 1), the id of its run, and the parameters that make it differ."""

    iteration: int
    run_id: str
    params: dict[str, Any] = field(default_factory=dict)


def trial_task(base: Task, trial: Trial) -> Task:
    """Return the task of one trial; `base` is the job's, whose run is the parent."""
    return base.but(
        run_id=trial.run_id, iteration=trial.iteration, params={**base.params, **trial.params}
    )


def perform_batch(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Perform trials, one after another.

    Args:
        batch: `task` (the base, as a dict), `trials` (iteration, run id, params of each), `values` (inputs that travel
            as values), `stop` (a condition: once it holds, the rest is left), `names` (metrics that the job is judged
            by), `retry` (how often a failed trial is tried again), `settle` (False: whoever calls absorbs later).

    Returns:
        The outcomes of the trials performed, each with `seconds` and `metrics` (last values of `names`).
    """
    base = Task.from_dict(batch["task"])
    condition = Condition.parse(batch["stop"]) if batch.get("stop") else None
    outcomes = []
    with hearing(base.parent, batch.get("names") or ()) as heard:
        for trial in batch["trials"]:
            begin = time.perf_counter()
            task = trial_task(base, Trial(*trial))
            outcome = _performed(task, batch)
            outcome["metrics"] = heard.take(task.run_id)
            outcome["seconds"] = time.perf_counter() - begin
            outcomes.append(outcome)
            told = {**outcome, "params": task.params}
            if outcome["state"] == "aborted" or (condition is not None and condition.holds(told)):
                break
    if batch.get("settle", True):
        _settle(base)
    return outcomes


def _performed(task: Task, batch: Mapping[str, Any]) -> dict[str, Any]:
    if not batch.get("retry"):
        return perform(task, batch.get("values"))
    from mlrun.execution.dispatch import Dispatch
    from mlrun.execution.retrypolicy import RetryPolicy

    store = task.open_store()
    if store is None:
        return perform(task, batch.get("values"))
    limits = {"executing": task.time_limit} if task.time_limit is not None else {}
    dispatch = Dispatch(store, limits=limits, retry=RetryPolicy.of(batch["retry"]))
    return {**dispatch.perform(task, batch.get("values")), "iteration": task.iteration}


def _settle(base: Task) -> None:
    """Absorb what the trials recorded; what cannot be now stays in the journal, readable, for the next who absorbs."""
    store = base.open_store()
    if store is None:
        return
    store.absorb_records_now()
    store.maybe_absorb()


class BatchSize:
    """How many trials go together: one at first, then as many as fill a fraction of a second."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._size = 1
        self._seconds: float | None = None

    def next(self, left: int) -> int:
        """Return the size of the next batch when `left` trials are to be started (at least 1)."""
        if self._seconds is not None:
            fitting = int(_SECONDS / max(self._seconds, 1e-6))
            self._size = max(1, min(2 * self._size, fitting, _MOST))
        fair = -(-left // self._slots)  # the last ones are shared out
        return max(1, min(self._size, fair, left))

    def took(self, seconds: float) -> None:
        """Take note of the time of one trial; a slow one weighs at once, quick ones slowly."""
        before = self._seconds
        self._seconds = seconds if before is None else max(seconds, 0.8 * before + 0.2 * seconds)
