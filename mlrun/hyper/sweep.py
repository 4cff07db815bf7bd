"""sweep: a hyperparameter job, from its plan to the best iteration.

The job's run is the parent; every iteration is a child run with its own metrics, results and artifacts. This process
draws the iterations, hands them in batches to an executor (or performs them itself, one after another) and judges what
comes back. Ids of the children are given out here, so that after a worker's death it can be told which iterations had
begun (they end as `error`) and which had not (they are handed out once more).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import JobError, JobLost
from mlrun.execution.interrupt import go_on_with
from mlrun.hyper.lost import settle_lost
from mlrun.hyper.outcomes import with_metrics
from mlrun.hyper.table import flat_params
from mlrun.hyper.trials import BatchSize, Trial, perform_batch
from mlrun.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.execution.interrupt import Guard
    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.task import Task
    from mlrun.hyper.judge import Judge
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.hyper.strategies import Plan
    from mlrun.store import Store

__all__ = ["Sweep"]

_SETTLE = 0.5  # seconds between two absorptions of what was performed in this thread


@dataclass
class Sweep:
    """One hyperparameter job of the strategies grid, list and random.

    Attributes:
        store: where its runs are.
        task: what the iterations share; its params are the base.
        plan: the iterations.
        options: see `HyperParamOptions`.
        judge: what outcomes are told to.
        guard: tells when the parent is to end.
        place: where iterations run; None performs them in this thread, one after another.
        needs: what one batch of iterations needs.
        values: inputs that travel as values.
        retry: how often a failed iteration is tried again, as `RetryPolicy` reads it.
        kept: outcomes of iterations that an earlier process has completed: they are not run again.
    """

    store: Store | None
    task: Task
    plan: Plan
    options: HyperParamOptions
    judge: Judge
    guard: Guard
    place: Executor | None = None
    needs: Needs | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    retry: Mapping[str, Any] | None = None
    kept: Mapping[int, dict[str, Any]] = field(default_factory=dict)

    def perform(self) -> None:
        """Run the iterations.

        Raises:
            JobError: iterations could not be sent at all.
            KeyboardInterrupt, SystemExit: ctrl-C, an abort, SIGTERM; what was in flight is cancelled.
        """
        self._again: deque[Trial] = deque()
        self._twice: set[str] = set()
        self._source = self._trials()
        self._left = len(self.plan) - len(self.kept)
        for outcome in self.kept.values():
            self.judge.note(outcome)
        for _ in self._performed():
            self.guard.check()

    def _trials(self) -> Iterator[Trial]:
        for number, params in enumerate(self.plan, 1):
            if number not in self.kept:
                yield Trial(number, uuid7(), params)

    def _next(self, most: int) -> list[Trial]:
        """Draw up to `most` trials; one alone when it was handed out before."""
        if self.judge.stopped:
            return []
        if self._again:
            return [self._again.popleft()]
        drawn: list[Trial] = []
        while len(drawn) < most and (trial := next(self._source, None)) is not None:
            drawn.append(trial)
        self._left -= len(drawn)
        return drawn

    def _performed(self) -> Iterator[dict[str, Any]]:
        if self.place is None:
            yield from self._performed_here()
            return
        slots = self.options.parallel_runs or self.place.slots
        size = BatchSize(slots)
        sent: dict[int, list[Trial]] = {}
        while True:
            for number, found in self.place.map(
                perform_batch, self._batches(size, sent), needs=self.needs, in_flight=slots
            ):
                batch = sent.pop(number)
                outcomes = self._lost(batch, found) if isinstance(found, JobError) else found
                for outcome in outcomes:
                    size.took(outcome.get("seconds", 0.0))
                self._take_back(batch, outcomes)
                yield from self._judge(outcomes, batch)
            if self.judge.stopped or not self._again:
                return
            sent = {}  # trials that came back after the last batch was drawn

    def _take_back(self, batch: list[Trial], outcomes: list[dict[str, Any]]) -> None:
        """Hand out once more what a batch left because one of its trials was aborted."""
        known = {o["run_id"] for o in outcomes} | {t.run_id for t in self._again}
        self._again.extend(t for t in batch if t.run_id not in known)

    def _performed_here(self) -> Iterator[dict[str, Any]]:
        """Perform one after another in this thread; what they recorded is absorbed now and then."""
        settled = time.monotonic()
        while trials := self._next(1):
            batch = self._batch(trials)
            batch["settle"] = time.monotonic() - settled > _SETTLE
            outcomes = perform_batch(batch)
            self._heed(outcomes[-1])
            yield from self._judge(outcomes, trials)
            if batch["settle"]:
                settled = time.monotonic()

    def _heed(self, outcome: Mapping[str, Any]) -> None:
        """Go on with the interrupt that ended a trial, when it was meant for this process and not for the trial."""
        if outcome["state"] == "aborted":
            self.guard.check()
            go_on_with(outcome)

    def _batches(self, size: BatchSize, sent: dict[int, list[Trial]]) -> Iterator[dict[str, Any]]:
        number = 0
        while batch := self._next(size.next(max(1, self._left))):
            sent[number] = batch
            number += 1
            yield self._batch(batch)

    def _batch(self, trials: list[Trial]) -> dict[str, Any]:
        return {
            "task": self.task.to_dict(),
            "trials": [(t.iteration, t.run_id, t.params) for t in trials],
            "values": dict(self.values),
            "stop": self.options.stop_condition,
            "names": sorted(self.judge.names),
            "retry": self.retry,
        }

    def _judge(
        self, outcomes: list[dict[str, Any]], batch: list[Trial]
    ) -> Iterator[dict[str, Any]]:
        by_id = {t.run_id: t for t in batch}
        for outcome in with_metrics(self.store, outcomes, self.judge.names):
            trial = by_id[outcome["run_id"]]
            outcome["params"] = flat_params({**self.task.params, **trial.params})
            self.judge.note(outcome)
            yield outcome

    def _lost(self, batch: list[Trial], error: JobError) -> list[dict[str, Any]]:
        """Tell what became of the trials of a batch whose worker died; those not begun are handed out once more."""
        if not isinstance(error, JobLost):
            raise error
        outcomes, unbegun = settle_lost(self.store, batch, self.task, str(error), self._twice)
        self._twice |= {t.run_id for t in unbegun}
        self._again.extend(unbegun)
        return outcomes
