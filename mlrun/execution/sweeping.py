"""Sweeps: `fn.run(hyperparams=…)`, handed to `mlrun.hyper` with the place where iterations run."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlrun.execution.announce import announce
from mlrun.execution.dispatch import Dispatch, beside
from mlrun.execution.places import HERE, check_store, place
from mlrun.view import RunView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.retrypolicy import RetryPolicy
    from mlrun.execution.task import Task
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.store import Store

__all__ = ["sweep"]


def sweep(
    store: Store,
    task: Task,
    values: Mapping[str, Any],
    hyperparams: Mapping[str, Any] | None,
    options: Any,
    executor: Any,
    watch: bool,
    needs: Needs | None,
    limits: Mapping[str, float],
    retry: RetryPolicy,
) -> RunView:
    """Run a hyperparameter job; with `watch` to its end, else beside the caller.

    Iterations of `local` are performed one after another in this thread, or in worker processes with `parallel_runs`.
    Time limits and retries are each iteration's.
    """
    from mlrun.execution.launch import finished
    from mlrun.hyper.job import SweepJob, run_sweep
    from mlrun.hyper.options import HyperParamOptions

    chosen = HyperParamOptions.of(options)
    where = _where(executor, chosen, watch)
    if where is not None:
        check_store(where, store)
    if chosen.strategy == "custom":
        return _custom(store, task, values, chosen, where, watch, needs, limits, retry)
    job = SweepJob(
        task.but(time_limit=limits.get("executing"), fresh=watch), hyperparams, chosen, where,
        # batches have no limit of their own: each iteration has
        needs=None if needs is None else replace(needs, time_limit=None), values=values,
        retry={"count": retry.count, "backoff": retry.backoff} if retry.count else None, shown=watch,
    )  # fmt: skip
    if watch:
        return finished(store, task.run_id, run_sweep(job))
    job.check()
    announce(store, task)
    beside(f"mlrun-sweep-{task.run_id[-6:]}", run_sweep, job)
    return RunView(store, task.run_id)


def _where(executor: Any, options: HyperParamOptions, watch: bool) -> Executor | None:
    """Return the executor of the iterations; None for this thread."""
    if options.strategy == "tune":
        return place("ray" if executor == HERE else executor)
    alone = options.strategy == "custom" or (options.parallel_runs or 0) <= 1
    return None if executor == HERE and watch and alone else place(executor)


def _custom(
    store: Store,
    task: Task,
    values: Mapping[str, Any],
    options: HyperParamOptions,
    where: Executor | None,
    watch: bool,
    needs: Needs | None,
    limits: Mapping[str, float],
    retry: RetryPolicy,
) -> RunView:
    """Run the handler once: it opens its iterations by itself."""
    from mlrun.execution.launch import finished

    task = task.but(hyper=options.to_dict())
    dispatch = Dispatch(store, where, needs=needs, limits=limits, retry=retry, follow=watch)
    if watch:
        return finished(store, task.run_id, dispatch.perform(task, values))
    dispatch.start(task, values)
    return RunView(store, task.run_id)
