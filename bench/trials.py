"""Trials that do nothing: how many a second when every one of them is stored, and what one call of `fn.run` costs."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from bench.children import call
from bench.figures import OURS, Figure
from bench.rounds import interleaved, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

_HERE = "no-op trials, one process"
_POOL = "no-op trials, two worker processes"
_RAY = "no-op trials, on Ray with 2 cores"
_CALL = "fn.run on a warm Ray, over a bare ray.remote call"
_PEERS = ("Optuna, SQLite", "Optuna, in memory", "Ray Tune", "Ray tasks, bare")


def run(options: Options) -> list[Figure]:
    """Measure jobs of the three places, beside what others have for it."""
    names = [OURS, *(_PEERS if options.peers else ())]
    number = 100 if options.quick else 1_000

    def measure(name: str, folder: Path) -> dict[str, Any]:
        return _measure(name, folder, number)

    found = interleaved(names, 1 if options.quick else 5, options.folder, measure)
    ours = found.pop(OURS)
    figures = [
        Figure.median(_HERE, [r["here"] for r in ours], "trials/s", goal=">= 300"),
        Figure.median(_POOL, [r["pool"] for r in ours], "trials/s", goal=">= 300"),
        Figure.median(_RAY, [r["ray"] for r in ours], "trials/s", goal=">= 150"),
        Figure.median(_CALL, [r["over"] for r in ours], "ms", goal="<= 5"),
        Figure.median("fn.run on a warm Ray", [r["call"] for r in ours], "ms"),
        Figure.median("fn.run in this process", [r["call_here"] for r in ours], "ms"),
    ]
    for name, rounds in found.items():
        place = _HERE if name.startswith("Optuna") else _RAY
        less = "nothing is stored" if name in ("Optuna, in memory", "Ray tasks, bare") else ""
        rates = [r["rate"] for r in rounds]
        figures.append(
            Figure.median(place, rates, "trials/s", subject=name, note=less, less=bool(less))
        )
    return figures


def _measure(name: str, folder: Path, number: int) -> dict[str, Any]:
    if name == OURS:
        found = call("bench.trials:ours", folder=str(folder / "here"), number=number)
        found |= call("bench.trials:ours_on_ray", folder=str(folder / "ray"), number=number)
    elif name.startswith("Optuna"):
        stored = str(folder / "study.db") if "SQLite" in name else ""
        found = call("bench.trials:optuna_", database=stored, number=number)
    elif name == "Ray Tune":
        found = call("bench.trials:ray_tune", folder=str(folder), number=min(number, 20))
    else:
        found = call("bench.trials:ray_tasks", number=number)
    say(f"trials: {name}: {found}")
    return found


def trial(x: float) -> float:
    """What a trial does: nothing to speak of."""
    return x**2


# -- ours, in the child ---------------------------------------------------------------------------


def ours(folder: str, number: int) -> dict[str, float]:
    """Run jobs in this process, then in two worker processes."""
    return {
        "here": _rate(folder, number, local=True),
        "pool": _rate(folder, number, local=True, parallel=2),
        "call_here": _median(lambda: _function().run(params={"x": 1.0}, local=True, store=folder)),
    }


def ours_on_ray(folder: str, number: int) -> dict[str, float]:
    """Run jobs on Ray, then single calls beside bare ones."""
    import ray

    from mlrun.registry import executor_class

    executor = executor_class("ray")(num_cpus=2)
    with executor:
        executor.submit(trial, 1.0).result()
        rate = _rate(folder, number, executor=executor)
        function = _function()
        one = _median(
            lambda: function.run(params={"x": 1.0}, executor=executor, store=folder, follow=False)
        )
        remote: Any = ray.remote(trial)
        bare = _median(lambda: ray.get(remote.remote(1.0)))
        return {"ray": rate, "call": one, "bare": bare, "over": one - bare}


def _function() -> Any:
    from mlrun.functions.making import new_function

    return new_function("trial", project="bench", handler=trial)


def _rate(folder: str, number: int, *, parallel: int | None = None, **place: Any) -> float:
    """Run a job twice, to have everything warm, and return the trials a second of the second; all must be stored."""
    rate = 0.0
    for count in (max(number // 10, 20), number):
        begin = time.perf_counter()
        view = _function().run(
            hyperparams={"x": [i / count for i in range(count)]},
            hyper_param_options={"selector": "return", "parallel_runs": parallel},
            store=folder,
            **place,
        )
        rate = count / (time.perf_counter() - begin)
        if set(view.iterations["state"]) != {"completed"} or view.iterations.height != count:
            raise AssertionError(f"{view.iterations.height} of {count} trials are stored")
    return rate


def _median(work: Callable[[], Any], repeats: int = 60) -> float:
    """Return the median time of a call, in milliseconds; the first ten are not counted."""
    taken = []
    for _ in range(repeats + 10):
        begin = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken[10:])


# -- the others, in the child ---------------------------------------------------------------------


def optuna_(database: str, number: int) -> dict[str, float]:
    """Run a study with random draws, stored in SQLite or not at all."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{database}" if database else None,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )

    def objective(drawn: Any) -> float:
        return trial(drawn.suggest_float("x", 0, 1))

    study.optimize(objective, n_trials=5)
    begin = time.perf_counter()
    study.optimize(objective, n_trials=number)
    return {"rate": number / (time.perf_counter() - begin)}


def ray_tune(folder: str, number: int) -> dict[str, float]:
    """Run an experiment with two trials at once; its results go to its folder."""
    from ray import tune

    def trainable(config: dict[str, float]) -> None:
        tune.report({"score": trial(config["x"])})

    with _started_ray():
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=number, max_concurrent_trials=2),
            run_config=tune.RunConfig(storage_path=folder, name="t", verbose=0),
        )
        begin = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - begin
        if results.num_errors or len(results) != number:
            raise AssertionError(f"{results.num_errors} trials failed")
    return {"rate": number / seconds}


def ray_tasks(number: int) -> dict[str, float]:
    """Make calls as tasks, all at once."""
    import ray

    with _started_ray():
        remote: Any = ray.remote(trial)
        ray.get([remote.remote(0.5) for _ in range(20)])
        begin = time.perf_counter()
        ray.get([remote.remote(i / number) for i in range(number)])
        return {"rate": number / (time.perf_counter() - begin)}


def _started_ray() -> Any:
    from mlrun.registry import executor_class

    executor = executor_class("ray")(num_cpus=2)
    assert executor.slots == 2  # this starts it
    return executor
