"""run_sweep: the parent run of a hyperparameter job, opened, performed and ended in this process."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlrun.errors import JobError, MlrunError
from mlrun.execution.interrupt import RunAborted, guarded
from mlrun.hyper.leftovers import end_children
from mlrun.hyper.strategies import plan
from mlrun.hyper.sweep import Sweep, job_facts
from mlrun.tables import RUNS
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.interrupt import Guard
    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.task import Task
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.hyper.strategies import Plan
    from mlrun.tracking.run import Run

__all__ = ["SweepJob", "run_sweep"]


@dataclass
class SweepJob:
    """A hyperparameter job before its run is open.

    Attributes:
        task: the parent's task; its params are the base of every iteration.
        hyperparams: lists of values, by parameter.
        options: how they become iterations; see `HyperParamOptions`.
        place: where iterations run; None performs them in this thread, one after another.
        needs: what one iteration needs.
        values: inputs that travel as values.
        retry: how often a failed iteration is tried again, as `RetryPolicy` reads it.
        kept: outcomes of iterations that an earlier process has completed, by number.
        shown: whether progress is written on stderr.
    """

    task: Task
    hyperparams: Mapping[str, Any] | None
    options: HyperParamOptions
    place: Executor | None = None
    needs: Needs | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    retry: Mapping[str, Any] | None = None
    kept: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    shown: bool = False


def run_sweep(job: SweepJob) -> dict[str, Any]:
    """Run a hyperparameter job of the strategies grid, list, random and tune.

    Returns:
        The parent's outcome, as `perform` has it.

    Raises:
        ConfigError: the hyperparams have no meaning; no run was made.
        KeyboardInterrupt, SystemExit: the parent has ended as `aborted`, and nothing is in flight.
    """
    if job.options.strategy == "random" and job.options.seed is None:
        # a job that is taken up again must draw the same
        job = replace(job, options=replace(job.options, seed=random.SystemRandom().getrandbits(32)))
    drawn = plan(job.hyperparams, job.options)
    run = _opened(job.task)
    facts = {**job_facts(drawn, job.options), "hyperparams": _jsonable(job)}
    run.set_provenance({"task": job.task.record(), "hyper": facts})
    try:
        with guarded(run, expendable=False, once=True) as guard:
            state, error = _sweep(job, drawn, run, guard).perform()
    except RunAborted as abort:
        state, error = "aborted", str(abort)
    except JobError as failure:  # iterations that cannot be sent
        state, error = "error", str(failure)
    except MlrunError as failure:
        state, error = lifecycle.outcome_of(failure)
    except BaseException as failure:
        _end(run, *lifecycle.outcome_of(failure))
        raise
    _end(run, state, error)
    return {
        "run_id": run.id, "state": run.state, "results": run.results, "error": run.error, "iteration": None,
    }  # fmt: skip


def _sweep(job: SweepJob, drawn: Plan, run: Run, guard: Guard) -> Sweep:
    base = job.task.but(
        parent=run.id, fresh=True, settle=False, name=run.name, notes=None,
        worker=job.place is not None and not job.place.in_process,
    )  # fmt: skip
    return Sweep(
        run, base, drawn, job.options, guard, job.place, job.needs, dict(job.values), job.retry, job.kept,
        job.shown,
    )  # fmt: skip


def _opened(task: Task) -> Run:
    """Open the parent: new, announced by this process before, or ended and taken up again."""
    store = task.open_store()
    found: dict[str, Any] = {}
    if store is not None and not task.fresh:
        rows = store.records.lookup(RUNS, {"run_id": task.run_id})
        found = rows[0] if rows else {}
    about = About() if found else About(
        name=task.name, config=task.params, tags=task.tags, labels=task.labels, parent=task.parent,
        notes=task.notes, kind=task.kind, function=task.function_uri or None,
    )  # fmt: skip
    return open_run(
        store, task.open_settings(), about, run_id=task.run_id, watch=task.captures, taken=found
    )


def _end(run: Run, state: str, error: str | None) -> None:
    if state != "completed":
        end_children(run.store, run.id, error or f"its job ended as {state}")
    run.end(state, error)


def _jsonable(job: SweepJob) -> dict[str, Any]:
    """Return the hyperparams as their record, for who takes the job up again."""
    if job.options.param_file or not job.hyperparams:
        return {}
    from mlrun.tracking.values import decode, encode

    return {str(k): [decode(encode(v)[0]) for v in values] for k, values in job.hyperparams.items()}
