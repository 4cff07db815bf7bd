"""A trial of the strategy "tune", in the worker: a child run whose metric is reported while it is logged."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.execution.hooks import add_hook, remove_hook
from mlrun.execution.perform import perform
from mlrun.execution.states import IllegalMove, move
from mlrun.execution.task import Task
from mlrun.hyper.heard import numbers_in
from mlrun.ids import uuid7
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.hyper.study import Link
    from mlrun.tracking.run import Run

__all__ = ["STOPPED_BY", "TunedTrial", "trial_id"]

STOPPED_BY = "mlrun/stopped-by"


def trial_id(parent: str, iteration: int) -> str:
    """Return the id of a job's trial: always the same one, so that a trial that goes on is the same run.

    It is a UUIDv7 that stands beside its parent's in time, when the parent's is one.
    """
    digest = hashlib.sha256(f"{parent}#{iteration}".encode()).hexdigest()
    time = parent[:13] if len(parent) == 36 and parent[14] == "7" else uuid7()[:13]
    return f"{time}-7{digest[:3]}-{'89ab'[int(digest[3], 16) % 4]}{digest[4:7]}-{digest[7:19]}"


@dataclass
class TunedTrial:
    """Performs trials of one job; travels to the workers.

    Attributes:
        task: what the trials share, as a dict; its params are the base.
        metric: the metric or result that decides; empty for none.
        names: metrics that the job is judged by.
        values: inputs that travel as values.
    """

    task: dict[str, Any]
    metric: str
    names: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, iteration: int, params: dict[str, Any], link: Link) -> dict[str, Any]:
        """Perform one trial, or go on with it; returns its outcome, with `metrics` and `value` (what decides)."""
        base = Task.from_dict(self.task)
        run_id = trial_id(base.parent or "", iteration)
        task = base.but(
            run_id=run_id, iteration=iteration, params={**base.params, **params}, fresh=False,
            settle=True,
        )  # fmt: skip
        _reopen(task)
        hook = _Reporter(run_id, self.metric, self.names, link)
        add_hook(hook)
        try:
            outcome = perform(task, self.values)
        finally:
            remove_hook(hook)
        outcome["metrics"], outcome["params"] = hook.last, task.params
        decides = outcome["results"].get(self.metric, hook.last.get(self.metric))
        outcome["value"] = decides if isinstance(decides, int | float) else None
        return outcome


def _reopen(task: Task) -> None:
    """Let a trial that had ended go on: it was set aside by its scheduler, or its worker or driver died."""
    store = task.open_store()
    if store is None:
        return
    store.flush_records()
    rows = store.records.lookup(RUNS, {"run_id": task.run_id})
    if rows and rows[0]["state"] != "aborting":
        with suppress(IllegalMove):
            move(store, task.run_id, "pending_retry", finished_at=None)


class _Reporter:
    """A hook that reports the metric of one run as it is logged."""

    def __init__(self, run_id: str, metric: str, names: tuple[str, ...], link: Link) -> None:
        self._run_id, self._metric, self._link = run_id, metric, link
        self._names = {*names, metric} - {""}
        self.last: dict[str, float] = {}

    def begin(self, run: Run) -> None:
        if run.id != self._run_id:
            return
        task = run.task
        if task is not None and run.parameters != task.params:
            run.config.update(task.params)  # population based training changes them on the way
        if STOPPED_BY in run.labels:  # it was only set aside
            run.set_label(STOPPED_BY, None)
        run.checkpoints = self._link

        def heard(data: Mapping[Any, Any], step: int | None) -> None:
            found = numbers_in(data, self._names)
            self.last |= found
            if self._metric in found:
                self._link.report(found[self._metric], run.step - 1 if step is None else step)

        run.listen(heard)

    def end(self, run: Run, error: BaseException | None) -> None:
        if run.id == self._run_id and self._link.stopped_by:
            run.set_label(STOPPED_BY, self._link.stopped_by)
