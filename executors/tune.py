"""Studies on Ray Tune: its searchers draw, its schedulers give up, and every trial is a run of ours.

The state of a study lies in its folder, so that another process can go on with it when its driver has died.
"""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray import tune

from mlrun.errors import ExecutorError, JobError

from .tune_actor import OUTCOME, VALUE, TrialActor
from .tune_names import domain_of, scheduler_of, searcher_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.tune.experiment import Trial

    from mlrun.execution.law import Needs
    from mlrun.hyper.study import Study

    from .ray_worker import Setup

__all__ = ["perform_study"]

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one greets on stdout whatever it is told
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # handlers run where they were called
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # what trials log is in our store
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may end without a word on how good it was
    "TUNE_FORCE_TRIAL_CLEANUP_S": "40",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in the runs
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
_LOGGERS = ("ray.tune", "ray.train", "ray.air", "optuna")
_studies: dict[
    str, Study
] = {}  # performed by this process; Tune pickles what it is given, and may not pickle these


@dataclass(frozen=True)
class TrialJob:
    """What every trial's worker is sent once.

    Attributes:
        setup: what a call finds in its worker.
        trial: performs a trial.
        scheduler: its name.
        most: reports after which a trial has had all that it gets; 0 for no such number.
    """

    setup: Setup
    trial: Any
    scheduler: str
    most: int


class _Stop(tune.Stopper):
    """Ends a study that is told to."""

    def __init__(self, id: str) -> None:
        self._id = id

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        study = _studies.get(self._id)
        return study is not None and study.stops()


class _Ears(tune.Callback):
    """Passes on that trials have ended."""

    def __init__(self, id: str) -> None:
        self._id = id

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        last = trial.last_result or {}
        self._tell(trial, last.get(OUTCOME) or {"state": "aborted", "value": last.get(VALUE)})

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._tell(trial, {"state": "error"})

    def _tell(self, trial: Trial, outcome: dict[str, Any]) -> None:
        if (study := _studies.get(self._id)) is not None:
            study.ended({**outcome, "iteration": int(str(trial.custom_trial_name))})


def perform_study(study: Study, setup: Setup, slots: int) -> None:
    """Perform a study to its end.

    Raises:
        JobError: it cannot be performed, or taken up again.
        ExecutorError: it needs what trials cannot be given.
    """
    _check_needs(study.needs)
    job = TrialJob(setup, study.trial, study.scheduler, _reports_of(study))
    trainable = tune.with_resources(
        tune.with_parameters(TrialActor, job=job), _resources(study.needs)
    )
    _studies[study.id] = study
    try:
        with _quiet():
            tuner = _restored(study, trainable) if study.resume else _tuner(study, trainable, slots)
            tuner.fit()
    finally:
        _studies.pop(study.id, None)


def _tuner(study: Study, trainable: Any, slots: int) -> tune.Tuner:
    frequency = int(study.extra.get("checkpoint_frequency", 0))
    cores = (study.needs.num_cpus if study.needs is not None else None) or 1
    parallel = study.parallel or max(1, int(slots / cores))
    judged: dict[str, Any] = {"metric": VALUE, "mode": study.goal} if study.goal else {}
    return tune.Tuner(
        trainable,
        param_space={key: domain_of(draw) for key, draw in study.space.items()},
        tune_config=tune.TuneConfig(
            **judged,
            search_alg=_limited(searcher_of(study), parallel),
            scheduler=scheduler_of(study) if study.goal else None,
            num_samples=study.samples,
            max_concurrent_trials=None if study.search in ("", "random") else parallel,
            reuse_actors=True,
            trial_name_creator=_Numbers(0 if study.search not in ("", "random") else 1),
            trial_dirname_creator=_Numbers(0 if study.search not in ("", "random") else 1),
        ),
        run_config=tune.RunConfig(
            name=study.folder.name,
            storage_path=str(study.folder.parent),
            stop=_Stop(study.id),
            callbacks=[_Ears(study.id)],
            checkpoint_config=tune.CheckpointConfig(
                # a trial may take over what another one had long ago
                num_to_keep=None if study.scheduler == "pbt" else 2,
                checkpoint_frequency=frequency,
            ),
            verbose=0,
        ),
    )


def _limited(searcher: Any, parallel: int) -> Any:
    """Let random draws keep to the number of trials at once; Tune limits the other searchers by itself."""
    if isinstance(searcher, tune.search.BasicVariantGenerator):
        searcher.max_concurrent = parallel
    return searcher


def _restored(study: Study, trainable: Any) -> tune.Tuner:
    path = str(study.folder)
    if not tune.Tuner.can_restore(path):
        raise JobError(f"nothing of the study is left in {path}: start it anew")
    return tune.Tuner.restore(path, trainable, resume_unfinished=True, restart_errored=True)


@dataclass(frozen=True)
class _Numbers:
    """Names trials by their number, which Tune puts before the words of their tag.

    Attributes:
        more: 1 where Tune begins with 0.
    """

    more: int

    def __call__(self, trial: Trial) -> str:
        return str(int(str(trial.experiment_tag).partition("_")[0]) + self.more)


def _reports_of(study: Study) -> int:
    """Return how many reports a trial gets; 0 where that is not counted in reports."""
    if study.extra.get("time_attr", "training_iteration") != "training_iteration":
        return 0
    default = {"asha": 100, "hyperband": 81, "bohb": 81}.get(study.scheduler, 0)
    return int(study.extra.get("max_t", default)) if default else 0


def _resources(needs: Needs | None) -> dict[str, float]:
    if needs is None:
        return {"cpu": 1}
    found: dict[str, float] = {"cpu": needs.num_cpus or 1, **needs.resources}
    if needs.num_gpus:
        found["gpu"] = needs.num_gpus
    if needs.memory:
        found["memory"] = needs.memory
    return found


def _check_needs(needs: Needs | None) -> None:
    if needs is not None and needs.replicas > 1:
        raise ExecutorError("strategy 'tune' runs trials of one process each, not of replicas")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Tune from writing to the terminal and to folders of its own."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
