"""run_sweep: the parent run of a hyperparameter job, opened, performed and ended in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import JobError, MlrunError
from mlrun.hyper.strategies import plan
from mlrun.hyper.sweep import Sweep
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.task import Task
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.tracking.run import Run

__all__ = ["run_sweep"]


def run_sweep(
    task: Task,
    hyperparams: Mapping[str, Any] | None,
    options: HyperParamOptions,
    place: Executor | None = None,
    *,
    needs: Needs | None = None,
    values: Mapping[str, Any] | None = None,
    shown: bool = False,
) -> dict[str, Any]:
    """Run a hyperparameter job of the strategies grid, list and random.

    Args:
        task: the parent's task; its params are the base of every iteration.
        hyperparams: lists of values, by parameter.
        options: how they become iterations; see `HyperParamOptions`.
        place: where iterations run; None performs them in this thread, one after another.
        needs: what one iteration needs.
        values: inputs that travel as values.
        shown: whether progress is written on stderr.

    Returns:
        The parent's outcome, as `perform` has it.

    Raises:
        ConfigError: the hyperparams have no meaning; no run was made.
        KeyboardInterrupt, SystemExit: the parent has ended as `aborted`, and nothing is in flight.
    """
    plan(hyperparams, options)
    store = task.open_store()
    run = open_run(
        store, task.open_settings(), _about(task), run_id=task.run_id, watch=task.captures,
        taken={} if task.fresh else None,
    )  # fmt: skip
    base = task.but(parent=run.id, fresh=True, settle=False, name=run.name, notes=None)
    sweep = Sweep(run, base, hyperparams, options, place, needs, dict(values or {}), shown)
    error: str | None = None
    try:
        state, error = sweep.perform()
    except JobError as failure:  # iterations that cannot be sent
        state, error = "error", str(failure)
    except MlrunError as failure:
        state, error = lifecycle.outcome_of(failure)
    except BaseException as failure:
        run.end(*lifecycle.outcome_of(failure))
        raise
    run.end(state, error)
    return _outcome(run, error)


def _about(task: Task) -> About:
    return About(
        name=task.name,
        config=task.params,
        tags=task.tags,
        labels=task.labels,
        parent=task.parent,
        notes=task.notes,
        kind=task.kind,
        function=task.function_uri or None,
    )


def _outcome(run: Run, error: str | None) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "state": run.state,
        "results": run.results,
        "error": error,
        "iteration": None,
    }
