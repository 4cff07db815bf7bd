"""Schedulers, searchers and ranges of Ray Tune, by the names that `HyperParamOptions` has for them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, MissingExtra, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.hyper.space import Draw
    from mlrun.hyper.study import Study

__all__ = ["SCHEDULERS", "SEARCHERS", "check_names", "domain_of", "scheduler_of", "searcher_of"]

# our name -> Tune's class
SCHEDULERS = {
    "asha": "ASHAScheduler",
    "fifo": "FIFOScheduler",
    "hyperband": "HyperBandScheduler",
    "median": "MedianStoppingRule",
    "pbt": "PopulationBasedTraining",
    "bohb": "HyperBandForBOHB",
}
# our name, which is Tune's too -> (the package that it needs, how pip calls it)
SEARCHERS = {
    "ax": ("ax", "ax-platform"),
    "bayesopt": ("bayes_opt", "bayesian-optimization"),
    "bohb": ("ConfigSpace", "hpbandster ConfigSpace"),
    "hebo": ("hebo", "HEBO"),
    "hyperopt": ("hyperopt", "hyperopt"),
    "nevergrad": ("nevergrad", "nevergrad"),
    "optuna": ("optuna", "optuna"),
    "zoopt": ("zoopt", "zoopt"),
}
_RANDOM = ("", "random")
_SEEDS = ("seed", "random_state_seed", "random_state", "random_seed")
_GIVEN = {"metric", "mode", "space", "self"}  # that we give, or that follow from the space
_FOREVER = 10**9
_PASSIVE = {"checkpoint_frequency"}


def check_names(scheduler: str, search: str, extra: Mapping[str, Any]) -> None:
    """See that both are known and take the further arguments.

    Raises:
        ConfigError: one is not, or an argument belongs to neither.
        MissingExtra: the searcher's package is not installed.
    """
    if scheduler and scheduler not in SCHEDULERS:
        hint = did_you_mean(scheduler, SCHEDULERS)
        raise ConfigError(f"no scheduler {scheduler!r}{hint}; known: {', '.join(SCHEDULERS)}")
    if search not in _RANDOM:
        _check_searcher(search)
    known = _PASSIVE | _arguments(scheduler_class(scheduler))
    known |= _arguments(_searcher_class(search))
    for name in extra:
        if name not in known - _GIVEN:
            raise ConfigError(
                f"tune={{{name!r}: …}} is no argument of {scheduler or 'fifo'} or {search or 'random'}"
                f"{did_you_mean(name, known)}"
            )


def _check_searcher(search: str) -> None:
    if search not in SEARCHERS:
        hint = did_you_mean(search, SEARCHERS)
        raise ConfigError(f"no searcher {search!r}{hint}; known: random, {', '.join(SEARCHERS)}")
    module, package = SEARCHERS[search]
    if find_spec(module) is None:
        raise MissingExtra(f"search={search!r} needs a package: pip install {package}")


def scheduler_class(name: str) -> Any:
    """Return Tune's class of a scheduler."""
    from ray.tune import schedulers

    return getattr(schedulers, SCHEDULERS[name or "fifo"])


def _searcher_class(name: str) -> Any:
    from ray.tune import search

    if name in _RANDOM:
        return search.BasicVariantGenerator
    importers: dict[str, Any] = dict(search.SEARCH_ALG_IMPORT)
    return importers[name]()


def _arguments(kind: Any) -> set[str]:
    from inspect import signature

    return set(signature(kind.__init__).parameters)


def scheduler_of(study: Study) -> Any:
    """Return the scheduler of a study; time is counted in reports unless it is said otherwise."""
    kind = scheduler_class(study.scheduler)
    known = _arguments(kind)
    given = {k: v for k, v in study.extra.items() if k in known}
    if "time_attr" in known:
        given.setdefault("time_attr", "training_iteration")
    if study.scheduler == "median":
        # setting trials aside in turns would have those without checkpoints begin anew for ever
        given.setdefault("min_time_slice", _FOREVER)
    if study.scheduler == "pbt":
        given.setdefault("perturbation_interval", 5)
        varied = {k: domain_of(d) for k, d in study.space.items()}
        given.setdefault("hyperparam_mutations", varied)
    return kind(**given)


def searcher_of(study: Study) -> Any:
    """Return the searcher of a study, seeded."""
    kind = _searcher_class(study.search)
    known = _arguments(kind)
    given = {k: v for k, v in study.extra.items() if k in known}
    for name in _SEEDS:
        if name in known and study.seed is not None:
            given.setdefault(name, study.seed)
    return kind(**given)


def domain_of(draw: Draw) -> Any:
    """Return Tune's word for how a param is drawn."""
    from ray import tune

    if draw.kind == "choice":
        return tune.choice(list(draw.args))
    return getattr(tune, draw.kind)(*draw.args)
