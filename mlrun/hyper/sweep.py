"""sweep: a hyperparameter job, from its plan to the best iteration.

The job's run is the parent; every iteration is a child run with its own metrics, results and artifacts. This process
draws the iterations, hands them in batches to an executor (or performs them itself, one after another), judges what
comes back, and ends the parent. Ids of the children are given out here, so that after a worker's death it can be told
which iterations had begun (they end as `error`) and which had not (they are handed out once more).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import JobError, JobLost
from mlrun.hyper.expression import Condition
from mlrun.hyper.lost import settle_lost
from mlrun.hyper.outcomes import with_metrics
from mlrun.hyper.progress import Progress
from mlrun.hyper.promote import promote
from mlrun.hyper.selector import Selector
from mlrun.hyper.strategies import plan
from mlrun.hyper.trials import BatchSize, Trial, perform_batch
from mlrun.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.task import Task
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.tracking.run import Run

__all__ = ["Sweep"]

_SETTLE = 0.5  # seconds between two absorptions of what was performed in this thread


@dataclass
class Sweep:
    """One hyperparameter job.

    Attributes:
        run: the parent, open in this process.
        task: what the iterations share; its params are the base.
        hyperparams, options: see `HyperParamOptions`.
        place: where iterations run; None performs them in this thread, one after another.
        needs: what one iteration needs.
        values: inputs that travel as values.
        shown: whether progress is written on stderr.
    """

    run: Run
    task: Task
    hyperparams: Mapping[str, Any] | None
    options: HyperParamOptions
    place: Executor | None = None
    needs: Needs | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    shown: bool = False

    def perform(self) -> tuple[str, str | None]:
        """Run the job.

        Returns:
            The state and error that the parent ends with: an error when an iteration failed, as
            `2 of 10 tasks failed`; what was stopped by `stop_condition` is no failure.

        Raises:
            ConfigError: the hyperparams have no meaning; nothing was run.
            JobError: iterations could not be sent at all.
            KeyboardInterrupt: somebody pressed ctrl-C; what was in flight is cancelled.
        """
        self._plan = plan(self.hyperparams, self.options)
        self._selector = Selector.parse(self.options.selector)
        stop = self.options.stop_condition
        self._condition = Condition.parse(stop) if stop else None
        self._outcomes: list[dict[str, Any]] = []
        self._failed = 0
        self._stopped = ""
        self._again: deque[Trial] = deque()
        self._twice: set[str] = set()
        self._source = self._trials()
        self._left = len(self._plan)
        progress = Progress(len(self._plan), self._selector, shown=self.shown)
        self.run.set_provenance({"hyper": self._facts()})
        try:
            for outcome in self._performed():
                progress.add(outcome)
        finally:
            progress.close()
            promote(self.run, self._outcomes, self._selector, list(self._plan.keys))
        return self._end()

    def _facts(self) -> dict[str, Any]:
        return {
            "params": [
                *self.task.params,
                *(k for k in self._plan.keys if k not in self.task.params),
            ],
            "iterations": len(self._plan),
            **self.options.to_dict(),
        }

    def _trials(self) -> Iterator[Trial]:
        for number, params in enumerate(self._plan, 1):
            yield Trial(number, uuid7(), params)

    def _next(self, most: int) -> list[Trial]:
        """Draw up to `most` trials; one alone when it was handed out before."""
        if self._stopped:
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
            if self._stopped or not self._again:
                return
            sent = {}  # trials that came back after the last batch was drawn

    def _performed_here(self) -> Iterator[dict[str, Any]]:
        """Perform one after another in this thread; what they recorded is absorbed now and then."""
        settled = time.monotonic()
        while trials := self._next(1):
            batch = self._batch(trials)
            batch["settle"] = time.monotonic() - settled > _SETTLE
            yield from self._judge(perform_batch(batch), trials)
            if batch["settle"]:
                settled = time.monotonic()

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
        }

    def _judge(
        self, outcomes: list[dict[str, Any]], batch: list[Trial]
    ) -> Iterator[dict[str, Any]]:
        by_id = {t.run_id: t for t in batch}
        for outcome in with_metrics(self.run.store, outcomes, self._names()):
            outcome["params"] = {**self.task.params, **by_id[outcome["run_id"]].params}
            self._outcomes.append(outcome)
            self._failed += outcome["state"] == "error"
            if outcome["state"] == "aborted" and self.place is None:
                raise KeyboardInterrupt
            if self._condition is not None and self._condition.holds(outcome):
                self._stopped = (
                    self._stopped or f"stop_condition at iteration {outcome['iteration']}"
                )
            if self._failed > self.options.max_errors:
                self._stopped = self._stopped or f"{self._failed} iterations failed"
            yield outcome

    def _names(self) -> set[str]:
        names = set(self._condition.names) if self._condition else set()
        return names | ({self._selector.key} if self._selector else set())

    def _lost(self, batch: list[Trial], error: JobError) -> list[dict[str, Any]]:
        """Tell what became of the trials of a batch whose worker died; those not begun are handed out once more."""
        if not isinstance(error, JobLost):
            raise error
        outcomes, unbegun = settle_lost(self.run.store, batch, self.task, str(error), self._twice)
        self._twice |= {t.run_id for t in unbegun}
        self._again.extend(unbegun)
        return outcomes

    def _end(self) -> tuple[str, str | None]:
        outputs = dict.fromkeys(k for o in self._outcomes for k in o.get("results") or {})
        facts = {**self._facts(), "outputs": list(outputs)}
        if self._stopped:
            facts["stopped"] = self._stopped
        self.run.set_provenance({"hyper": facts})
        if self._failed:
            return "error", (
                f"{self._failed} of {len(self._outcomes)} tasks failed, "
                f"see `mlrun.runs(where=\"parent = '{self.run.id}' and state = 'error'\")`"
            )
        return "completed", None
