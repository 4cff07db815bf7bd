"""Tuned: a job of the strategy "tune", handed to an executor that can tune and watched to its end."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, JobError
from mlrun.hyper.leftovers import abort_children, end_children, fail_children
from mlrun.hyper.selector import Selector
from mlrun.hyper.study import CanTune, Study
from mlrun.hyper.tunedtrial import TunedTrial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.interrupt import Guard
    from mlrun.execution.law import Needs
    from mlrun.execution.task import Task
    from mlrun.hyper.judge import Judge
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.hyper.space import Draw
    from mlrun.store import Store

__all__ = ["Tuned", "check_tuning"]

_LOOK = 0.2  # seconds between two looks
_END = 60.0  # seconds that a study has to come to its end once it is told to


@dataclass
class Tuned:
    """One job.

    Attributes:
        store: where its runs are.
        task: what the trials share; its params are the base.
        space: what is drawn.
        samples: how many trials.
        options: see `HyperParamOptions`.
        judge: what outcomes are told to.
        guard: tells when the parent is to end.
        place: the executor; must be able to tune.
        needs: what one trial needs.
        values: inputs that travel as values.
        resume: whether an earlier process has begun it.
    """

    store: Store | None
    task: Task
    space: Mapping[str, Draw]
    samples: int
    options: HyperParamOptions
    judge: Judge
    guard: Guard
    place: Any
    needs: Needs | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False

    def perform(self) -> None:
        """Run the trials.

        Raises:
            JobError: the study failed.
            KeyboardInterrupt, SystemExit: ctrl-C, an abort, SIGTERM; nothing runs any more.
        """
        if self.store is None:
            raise ConfigError("strategy 'tune' keeps its state in the store: it needs one")
        study = self._study(self.store)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        thread = threading.Thread(target=self._tune, args=(study,), name="mlrun-tune", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_LOOK)
                self.guard.check()
        except BaseException as error:
            self._end(thread, str(error) or type(error).__name__)
            raise
        self._raise_failure(thread)
        parent = self.task.parent or ""
        failed = {o["iteration"] for o in self.judge.outcomes if o["state"] == "error"}
        fail_children(self.store, parent, failed, "the process that performed it died")
        end_children(self.store, parent, "its job has ended")
        self.judge.take_stock()
        shutil.rmtree(
            study.folder, ignore_errors=True
        )  # nobody goes on with a study that has ended

    def _raise_failure(self, thread: threading.Thread) -> None:
        if self._failure is not None:
            self._end(thread, str(self._failure))
            raise self._failure

    def _study(self, store: Store) -> Study:
        selector = Selector.parse(self.options.selector)
        metric = selector.key if selector is not None else ""
        parent = self.task.parent or ""
        return Study(
            id=parent,
            trial=TunedTrial(
                self.task.to_dict(), metric, tuple(sorted(self.judge.names)), self.values
            ),
            space=self.space,
            goal=selector.goal if selector is not None else None,
            samples=self.samples,
            parallel=self.options.parallel_runs,
            seed=self.options.seed,
            scheduler=self.options.scheduler or "",
            search=self.options.search or "",
            extra=self.options.tune,
            folder=Path(store.folder) / "tune" / parent,
            resume=self.resume,
            needs=self.needs,
            ended=self._ended,
            stops=lambda: self._stop.is_set() or bool(self.judge.stopped),
        )

    def _tune(self, study: Study) -> None:
        try:
            self.place.tune(study)
        except JobError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001  raised by the thread that waits
            self._failure = JobError(f"the study failed: {type(error).__name__}: {error}")

    def _ended(self, outcome: dict[str, Any]) -> None:
        """Note the outcome of a trial; the store is asked for the whole of it at the end."""
        selector = Selector.parse(self.options.selector)
        if selector is not None and outcome.get("value") is not None:
            outcome = {"metrics": {selector.key: outcome["value"]}, **outcome}
        self.judge.note(outcome)

    def _end(self, thread: threading.Thread, why: str) -> None:
        """Have everything come to its end: handlers hear it by themselves, the study by its own flag."""
        assert self.store is not None
        self._stop.set()
        until = time.monotonic() + _END
        while thread.is_alive() and time.monotonic() < until:
            abort_children(self.store, self.task.parent or "", self.guard.why or why)
            thread.join(1.0)


def check_tuning(place: Any, options: HyperParamOptions) -> None:
    """See that the executor can do what is asked for.

    Raises:
        ConfigError: it cannot tune, or does not know a name; a metric to judge by is missing.
        MissingExtra: what the searcher needs is not installed.
    """
    if not isinstance(place, CanTune):
        name = getattr(place, "name", type(place).__name__)
        raise ConfigError(f"executor {name!r} cannot tune: take executor='ray'")
    if (options.scheduler or options.search) and not options.selector:
        raise ConfigError(
            "a scheduler or searcher needs to know what is good: say selector='max.<metric>' or 'min.<metric>'"
        )
    place.check_tuning(options.scheduler or "", options.search or "", options.tune)
