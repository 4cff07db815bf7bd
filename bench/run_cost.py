"""What a run costs: to create and finish one, and what ten thousand of them leave on the disk."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from bench.children import Child, call
from bench.figures import OURS, Figure, percentile
from bench.rounds import interleaved, say
from bench.trackers.ours import QUIET

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

_PROCESSES = 4


def run(options: Options) -> list[Figure]:
    """Measure runs one after another in one process, then many in four, then count files."""
    return _one_by_one(options) + _many(options)


def _one_by_one(options: Options) -> list[Figure]:
    out = []
    number = 100 if options.quick else 500
    for title, settings in (("captures off", QUIET), ("all defaults", {})):

        def measure(name: str, folder: Path, settings: dict[str, Any] = settings) -> dict[str, Any]:
            return call("bench.run_cost:create", folder=str(folder), runs=number, settings=settings)

        rounds = interleaved([OURS], 1 if options.quick else 5, options.folder, measure)[OURS]
        for which in ("p50", "p95", "mean"):
            name = f"create and finish a run, {title}, {which}"
            goal = "<= 2" if which == "p50" else ""
            out.append(Figure.median(name, [r[which] for r in rounds], "ms", goal=goal))
    return out


def create(folder: str, runs: int, settings: dict[str, Any]) -> dict[str, float]:
    """Create and finish runs with a config, a tag and one logged value, in the child; the first is not counted."""
    import mlrun

    taken = []
    for i in range(runs + 1):
        begin = time.perf_counter()
        run_ = mlrun.init(
            project="bench", config={"lr": 0.1, "seed": i}, tags=["t"], store=folder, **settings
        )
        run_.log({"loss": 0.5}, 0)
        run_.finish()
        taken.append((time.perf_counter() - begin) * 1000)
    taken = taken[1:]
    mean = sum(taken) / len(taken)
    return {"p50": percentile(taken, 50), "p95": percentile(taken, 95), "mean": mean}


def _many(options: Options) -> list[Figure]:
    runs = 400 if options.quick else 10_000
    share = runs // _PROCESSES - 1  # `create` makes one more

    def measure(name: str, folder: Path) -> dict[str, Any]:
        begin = time.monotonic()
        children = [
            Child(
                "bench.run_cost:create", {"folder": str(folder), "runs": share, "settings": QUIET}
            )
            for _ in range(_PROCESSES)
        ]
        for child in children:
            child.answer()
        taken = time.monotonic() - begin
        found = {"seconds": taken, "before": files(folder)}
        found |= call("bench.run_cost:tidy", folder=str(folder))
        say(f"run_cost: {runs:,} runs in {taken:.1f} s")
        return found | {"after": files(folder)}

    [found] = interleaved([OURS], 1, options.folder, measure)[OURS]
    title = f"{runs:,} runs from {_PROCESSES} processes"
    return [
        Figure(f"{title}, created and finished", runs / found["seconds"], "/s"),
        Figure(f"{title}, all of them in the store", found["runs"], "", goal=f"{runs:,}"),
        Figure(f"{title}, files left", found["before"], "files", goal="tens"),
        Figure(f"{title}, files after compact", found["after"], "files", goal="tens"),
    ]


def tidy(folder: str) -> dict[str, int]:
    """Compact, and count the runs, in the child."""
    import mlrun

    mlrun.compact(store=folder)
    return {"runs": mlrun.runs("bench", columns=["run_id"], store=folder).height}


def files(folder: Path) -> int:
    """Count all files below a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))
