"""What pages of the dashboard ask of the data layer, without a browser: each question many times, with other values."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from bench.children import call
from bench.figures import Figure, percentile
from bench.rounds import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["data_layer"]

_COLUMNS = [
    "name", "state", "started_at", "duration", "params.lr", "params.batch", "metrics.acc",
    "metrics.loss",
]  # fmt: skip


def data_layer(folder: Path, runs: int, repeats: int) -> list[Figure]:
    """Measure over a store of w1: p95 of each question."""
    found = call("bench.dashboard_data:asked", folder=str(folder), repeats=repeats)["taken"]
    out = []
    for name, taken in found.items():
        title = f"{runs:,} runs: data layer, {name}, p95"
        out.append(Figure(title, percentile([t * 1000 for t in taken], 95), "ms", goal="<= 300"))
    say(f"dashboard: {runs:,} runs: data layer: {max(f.value for f in out):.0f} ms at most")
    return out


def asked(folder: str, repeats: int) -> dict[str, Any]:
    """Ask every question some times, in turns, in one warm process, in the child."""
    questions = _questions(folder)
    for question in questions.values():
        question()
    taken: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(repeats):
        for name, question in questions.items():
            begin = time.perf_counter()
            question()
            taken[name].append(time.perf_counter() - begin)
    return {"taken": taken}


def _questions(folder: str) -> dict[str, Callable[[], Any]]:
    import mlrun

    chance = random.Random(0)
    known = mlrun.runs(limit=500, columns=["run_id"], store=folder)["run_id"].to_list()

    def table(**asked: Any) -> Any:
        return mlrun.runs("w1", columns=_COLUMNS, limit=100, store=folder, **asked)

    return {
        "newest 100 runs, 8 columns": lambda: table(),
        "another page of them": lambda: table(offset=100 * chance.randrange(1, 40)),
        "filter by a metric and a parameter": lambda: table(
            where=f"metrics.acc > {chance.uniform(0.88, 0.92):.4f} and params.batch = 128"
        ),
        "order by a metric": lambda: table(order_by="-metrics.acc"),
        "open a run": lambda: mlrun.get_run(chance.choice(known), store=folder),
        "charts of a run's metrics": lambda: mlrun.metrics(
            chance.choice(known), points=600, store=folder
        ),
        "2 metrics of 10 runs": lambda: mlrun.metrics(
            chance.sample(known, 10), ["acc", "loss"], points=600, store=folder
        ),
        "projects": lambda: mlrun.projects(store=folder),
    }
