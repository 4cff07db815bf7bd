"""SweepJob: a hyperparameter job, whose parent run is opened, performed and ended in this process."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlrun.errors import JobAborted, JobError, MlrunError
from mlrun.execution.interrupt import Guard, RunAborted, guarded
from mlrun.hyper.judge import Judge
from mlrun.hyper.space import read_space, space_record
from mlrun.hyper.strategies import plan
from mlrun.hyper.sweep import Sweep
from mlrun.hyper.table import flat_params
from mlrun.hyper.tuned import Tuned, check_tuning
from mlrun.tables import RUNS
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.law import Executor, Needs
    from mlrun.execution.task import Task
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.tracking.run import Run

__all__ = ["SweepJob"]

_SAMPLES = 10  # of "tune", when nobody says how many


@dataclass
class SweepJob:
    """A hyperparameter job of the strategies grid, list, random and tune.

    Attributes:
        task: the parent's task; its params are the base of every iteration, its time limit is each iteration's.
        hyperparams: lists of values, by parameter.
        options: how they become iterations; see `HyperParamOptions`.
        place: where iterations run; None performs them in this thread, one after another.
        needs: what one iteration needs.
        values: inputs that travel as values.
        retry: how often a failed iteration is tried again, as `RetryPolicy` reads it.
        kept: outcomes of iterations that an earlier process has completed, by number: they are not run again.
        resume: whether an earlier process has begun it.
        shown: whether progress is written on stderr.

    Raises:
        ConfigError: the hyperparams have no meaning, or the executor cannot tune; no run was made.
    """

    task: Task
    hyperparams: Mapping[str, Any] | None
    options: HyperParamOptions
    place: Executor | None = None
    needs: Needs | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    retry: Mapping[str, Any] | None = None
    kept: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    resume: bool = False
    shown: bool = False

    def __post_init__(self) -> None:
        if self.options.strategy in ("random", "tune") and self.options.seed is None:
            # a job that is taken up again must draw the same
            self.options = replace(self.options, seed=random.SystemRandom().getrandbits(32))
        self._tuned = self.options.strategy == "tune"
        if self._tuned:
            check_tuning(self.place, self.options)
            self.space = read_space(self.hyperparams, self.options)
            self._keys, self._total = list(self.space), self.options.max_iterations or _SAMPLES
        else:
            self.plan = plan(self.hyperparams, self.options)
            self._keys, self._total = list(self.plan.keys), len(self.plan)
        self._guard: Guard | None = None

    def perform(self) -> dict[str, Any]:
        """Run the job to its end.

        Returns:
            The parent's outcome, as `perform` has it.

        Raises:
            KeyboardInterrupt, SystemExit: the parent has ended as `aborted`, and nothing is in flight.
        """
        lifecycle.install()
        run = _opened(self.task)
        try:
            with guarded(run, once=True) as guard:
                self._guard = guard
                state, error = self._judged(run, guard)
        except RunAborted as abort:
            state, error = "aborted", str(abort) or self._why()
        except JobAborted as abort:  # the executor was closed
            state, error = "aborted", self._why() or str(abort)
        except JobError as failure:  # iterations that cannot be sent
            state, error = "error", str(failure)
        except MlrunError as failure:
            state, error = lifecycle.outcome_of(failure)
        except BaseException as failure:
            run.end(*lifecycle.outcome_of(failure))
            raise
        run.end(state, error)
        return {
            "run_id": run.id, "state": run.state, "results": run.results, "error": run.error,
            "iteration": self.task.iteration,
        }  # fmt: skip

    def _why(self) -> str:
        """Return why the job was interrupted: an exception that comes from another thread does not say."""
        return self._guard.why if self._guard is not None else ""

    def leave(self) -> None:
        """Abort it: the interpreter ends, and it runs on a thread of its own."""
        if self._guard is not None:
            self._guard.interrupt("the program that started it has ended")

    def _judged(self, run: Run, guard: Guard) -> tuple[str, str | None]:
        judge = Judge(run, self.options, self._keys, self._total, guard, shown=self.shown)
        judge.record = {
            "params": [*(k for k in flat_params(self.task.params)), *self._keys],
            "hyperparams": self._recorded(),
            "values": sorted(self.values),
            "executor": None if self.place is None else self.place.name,
        }
        run.set_provenance({"task": self.task.record(), "hyper": judge.facts()})
        with judge:
            self._work(run, judge, guard).perform()
        return judge.verdict()

    def _work(self, run: Run, judge: Judge, guard: Guard) -> Sweep | Tuned:
        base = self.task.but(
            parent=run.id, fresh=True, settle=False, name=run.name, notes=None,
            worker=self.place is not None and not self.place.in_process,
        )  # fmt: skip
        if self._tuned:
            return Tuned(
                run.store, base, self.space, self._total, self.options, judge, guard, self.place,
                self.needs, self.values, resume=self.resume,
            )  # fmt: skip
        return Sweep(
            run.store, base, self.plan, self.options, judge, guard, self.place, self.needs,
            self.values, self.retry, self.kept,
        )  # fmt: skip

    def _recorded(self) -> dict[str, Any]:
        """Return the hyperparams as JSON values, for who takes the job up again."""
        if self._tuned:
            return space_record(self.space)
        if self.options.param_file or not self.hyperparams:
            return {}
        from mlrun.tracking.values import decode, encode

        given = self.hyperparams.items()
        return {str(k): [decode(encode(v)[0]) for v in values] for k, values in given}


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
    # what iterations print in this process is theirs
    known = replace(task.open_settings(), console=False)
    return open_run(store, known, about, run_id=task.run_id, watch=task.captures, taken=found)
