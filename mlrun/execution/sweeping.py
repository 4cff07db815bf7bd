"""Sweeps: `fn.run(hyperparams=…)`, handed to `mlrun.hyper` with the place where iterations run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from mlrun.execution.announce import announce
from mlrun.execution.places import HERE, check_store, place
from mlrun.view import RunView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.task import Task
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
) -> RunView:
    """Run a hyperparameter job; with `watch` to its end, else beside the caller.

    Iterations of `local` are performed one after another in this thread, or in worker processes with `parallel_runs`.
    """
    from mlrun.execution.launch import finished
    from mlrun.hyper.job import run_sweep
    from mlrun.hyper.options import HyperParamOptions

    chosen = HyperParamOptions.of(options)
    where: Executor | None = None
    if executor != HERE or not watch or (chosen.parallel_runs or 0) > 1:
        where = place(executor)
        check_store(where, store)

    def perform(shown: bool) -> dict[str, Any]:
        return run_sweep(task, hyperparams, chosen, where, needs=needs, values=values, shown=shown)

    if watch:
        return finished(store, task.run_id, perform(shown=True))
    announce(store, task)
    name = f"mlrun-sweep-{task.run_id[-6:]}"
    threading.Thread(target=perform, args=(False,), name=name, daemon=True).start()
    return RunView(store, task.run_id)
