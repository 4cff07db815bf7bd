"""Sweeps: `fn.run(hyperparams=…)`, handed to `mlrun.hyper` with the place where iterations run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlrun.execution.announce import announce
from mlrun.execution.dispatch import start_beside
from mlrun.execution.places import HERE, check_store, place
from mlrun.view import RunView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.dispatch import Dispatch
    from mlrun.execution.law import Executor
    from mlrun.execution.task import Task
    from mlrun.hyper.job import SweepJob
    from mlrun.hyper.options import HyperParamOptions

__all__ = ["Sweeping"]


@dataclass
class Sweeping:
    """A call of `fn.run` that is a hyperparameter job.

    Iterations of `local` are performed one after another in this thread, or in worker processes with `parallel_runs`.
    Time limits and retries are each iteration's.

    Attributes:
        dispatch: the store, and what was asked of runs.
        task: of the parent.
        values: inputs that travel as values.
        hyperparams, options: see `mlrun.HyperParamOptions`.
        kept: outcomes of iterations that an earlier process has completed, by number.
    """

    dispatch: Dispatch
    task: Task
    values: Mapping[str, Any]
    hyperparams: Mapping[str, Any] | None
    options: Any
    kept: Mapping[int, dict[str, Any]] = field(default_factory=dict)

    def run(self, executor: Any, watch: bool) -> RunView:
        """Run it: with `watch` to its end, else beside the caller."""
        from mlrun.execution.launch import finished
        from mlrun.hyper.options import HyperParamOptions

        options = HyperParamOptions.of(self.options)
        where, store = self._where(executor, options, watch), self.dispatch.store
        if where is not None:
            check_store(where, store)
        if options.strategy == "custom":
            return self._custom(where, options, watch)
        job = self._job(where, options, watch)
        if watch:
            return finished(store, self.task.run_id, self.perform(job))
        announce(store, job.task)
        start_beside(f"mlrun-sweep-{self.task.run_id[-6:]}", lambda: self.perform(job), job.leave)
        return RunView(store, self.task.run_id, later=True)

    def perform(self, job: SweepJob) -> dict[str, Any]:
        """Perform a job to its end, and tell who is to be told."""
        outcome = job.perform()
        self.dispatch.told.tell(self.task, outcome)
        return outcome

    def _where(self, executor: Any, options: HyperParamOptions, watch: bool) -> Executor | None:
        """Return the executor of the iterations; None for this thread."""
        if options.strategy == "tune":
            return place("ray" if executor == HERE else executor)
        alone = options.strategy == "custom" or (options.parallel_runs or 0) <= 1
        return None if executor == HERE and watch and alone else place(executor)

    def _job(self, where: Executor | None, options: HyperParamOptions, watch: bool) -> SweepJob:
        from mlrun.hyper.job import SweepJob

        dispatch, retry = self.dispatch, self.dispatch.retry
        return SweepJob(
            self.task.but(time_limit=dispatch.limits.get("executing"), fresh=watch),
            self.hyperparams,
            options,
            where,
            # batches have no limit of their own: each iteration has
            None if dispatch.needs is None else replace(dispatch.needs, time_limit=None),
            self.values,
            {"count": retry.count, "backoff": retry.backoff} if retry.count else None,
            self.kept,
            shown=dispatch.follow,
        )

    def _custom(self, where: Executor | None, options: HyperParamOptions, watch: bool) -> RunView:
        """Run the handler once: it opens its iterations by itself."""
        from mlrun.execution.launch import finished

        dispatch, task = self.dispatch, self.task.but(hyper=options.to_dict())
        dispatch.where = where
        if watch:
            return finished(dispatch.store, task.run_id, dispatch.perform(task, self.values))
        dispatch.start(task, self.values)
        return RunView(dispatch.store, task.run_id, later=True)
