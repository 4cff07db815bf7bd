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
from mlrun.hyper.expression import Condition
from mlrun.hyper.leftovers import end_children
from mlrun.hyper.lost import settle_lost
from mlrun.hyper.outcomes import with_metrics
from mlrun.hyper.progress import Progress
from mlrun.hyper.promote import promote
from mlrun.hyper.selector import Selector
from mlrun.hyper.table import flat_params, stored_outcomes
from mlrun.hyper.trials import BatchSize, Trial, perform_batch
from mlrun.ids import uuid7
from mlrun.tracking.lifecycle import outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.execution.interrupt import Guard
    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.task import Task
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.hyper.strategies import Plan
    from mlrun.tracking.run import Run

__all__ = ["Sweep", "judged_names", "verdict"]

_SETTLE = 0.5  # seconds between two absorptions of what was performed in this thread


@dataclass
class Sweep:
    """One hyperparameter job of the strategies grid, list and random.

    Attributes:
        run: the parent, open in this process.
        task: what the iterations share; its params are the base.
        plan: the iterations.
        options: see `HyperParamOptions`.
        guard: tells when the parent is to end.
        place: where iterations run; None performs them in this thread, one after another.
        needs: what one batch of iterations needs.
        values: inputs that travel as values.
        retry: how often a failed iteration is tried again, as `RetryPolicy` reads it.
        kept: outcomes of iterations that an earlier process has completed: they are not run again.
        shown: whether progress is written on stderr.
    """

    run: Run
    task: Task
    plan: Plan
    options: HyperParamOptions
    guard: Guard
    place: Executor | None = None
    needs: Needs | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    retry: Mapping[str, Any] | None = None
    kept: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    shown: bool = False

    def perform(self) -> tuple[str, str | None]:
        """Run the job.

        Returns:
            The state and error that the parent ends with: an error when an iteration failed, as
            `2 of 10 tasks failed`; what was stopped by `stop_condition` is no failure.

        Raises:
            JobError: iterations could not be sent at all.
            KeyboardInterrupt, SystemExit: ctrl-C, an abort, SIGTERM; what was in flight is cancelled.
        """
        self._selector = Selector.parse(self.options.selector)
        stop = self.options.stop_condition
        self._condition = Condition.parse(stop) if stop else None
        self._names = judged_names(self.options)
        self._outcomes: list[dict[str, Any]] = []
        self._failed = 0
        self.stopped = ""
        self._again: deque[Trial] = deque()
        self._twice: set[str] = set()
        self._source = self._trials()
        self._left = len(self.plan) - len(self.kept)
        progress = Progress(len(self.plan), self._selector, shown=self.shown)
        try:
            for outcome in self.kept.values():
                self._note(outcome)
                progress.add(outcome)
            for outcome in self._performed():
                progress.add(outcome)
                self.guard.check()
        except BaseException as failure:
            self._take_stock(self.guard.why or outcome_of(failure)[1] or type(failure).__name__)
            raise
        finally:
            progress.close()
            promote(self.run, self._outcomes, self._selector, self._facts())
        return verdict(self.run.id, self._outcomes)

    def _take_stock(self, why: str) -> None:
        """End what nobody performs any more, and ask the store: of batches in flight nobody has told the outcomes."""
        if self.run.store is not None:
            end_children(self.run.store, self.run.id, why)
            self._outcomes = stored_outcomes(self.run.store, self.run.id, self._names)

    def _facts(self) -> dict[str, Any]:
        facts = job_facts(self.plan, self.options)
        return {**facts, "stopped": self.stopped} if self.stopped else facts

    def _trials(self) -> Iterator[Trial]:
        for number, params in enumerate(self.plan, 1):
            if number not in self.kept:
                yield Trial(number, uuid7(), params)

    def _next(self, most: int) -> list[Trial]:
        """Draw up to `most` trials; one alone when it was handed out before."""
        if self.stopped:
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
                yield from self._judge(outcomes, batch)
            if self.stopped or not self._again:
                return
            sent = {}  # trials that came back after the last batch was drawn

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
        if outcome["state"] != "aborted":
            return
        self.guard.check()
        if outcome["error"] == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if outcome["error"] == "SIGTERM":
            raise SystemExit(143)

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
            "names": sorted(self._names),
            "retry": self.retry,
        }

    def _judge(
        self, outcomes: list[dict[str, Any]], batch: list[Trial]
    ) -> Iterator[dict[str, Any]]:
        by_id = {t.run_id: t for t in batch}
        for outcome in with_metrics(self.run.store, outcomes, self._names):
            trial = by_id[outcome["run_id"]]
            outcome["params"] = flat_params({**self.task.params, **trial.params})
            self._note(outcome)
            yield outcome

    def _note(self, outcome: dict[str, Any]) -> None:
        """Count an outcome, and find out whether it stops the job."""
        self._outcomes.append(outcome)
        self._failed += outcome["state"] == "error"
        if self._condition is not None and self._condition.holds(outcome):
            said = f"stop_condition at iteration {outcome['iteration']}"
            self.stopped = self.stopped or said
        if self._failed > self.options.max_errors:
            self.stopped = self.stopped or f"{self._failed} iterations failed"

    def _lost(self, batch: list[Trial], error: JobError) -> list[dict[str, Any]]:
        """Tell what became of the trials of a batch whose worker died; those not begun are handed out once more."""
        if not isinstance(error, JobLost):
            raise error
        outcomes, unbegun = settle_lost(self.run.store, batch, self.task, str(error), self._twice)
        self._twice |= {t.run_id for t in unbegun}
        self._again.extend(unbegun)
        return outcomes


def judged_names(options: HyperParamOptions) -> frozenset[str]:
    """Return the names of results or metrics that a job is judged by."""
    stop, selector = options.stop_condition, Selector.parse(options.selector)
    names = Condition.parse(stop).names if stop else frozenset()
    return names | ({selector.key} if selector else frozenset())


def job_facts(plan: Plan, options: HyperParamOptions) -> dict[str, Any]:
    """Return what the parent's provenance says of the job."""
    return {
        **options.to_dict(),
        "keys": list(plan.keys),
        "iterations": len(plan),
        "judged": sorted(judged_names(options)),
    }


def verdict(run_id: str, outcomes: list[dict[str, Any]]) -> tuple[str, str | None]:
    """Return the state and error of a job with these outcomes."""
    failed = sum(o["state"] == "error" for o in outcomes)
    if not failed:
        return "completed", None
    return "error", (
        f"{failed} of {len(outcomes)} tasks failed, "
        f"see `mlrun.runs(where=\"parent = '{run_id}' and state = 'error'\")`"
    )
