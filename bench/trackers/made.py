"""Made-up runs, the same for every tracker: the standard library makes them, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

__all__ = ["LRS", "POINTS", "MadeRun", "run", "value_at"]

LRS = (0.1, 0.01, 0.001, 0.0001)
POINTS = 20  # of every metric


@dataclass(frozen=True)
class MadeRun:
    """A run: ten params, ten metrics that end at the given values, two tags."""

    number: int
    name: str
    params: dict[str, Any]
    last: dict[str, float]
    tags: list[str]


def run(number: int) -> MadeRun:
    """Make the run of that number."""
    chance = random.Random(number)
    params: dict[str, Any] = {
        "lr": chance.choice(LRS),
        "batch": chance.choice((32, 64, 128)),
        "optimizer": chance.choice(("adam", "sgd")),
        "seed": number,
    }
    params.update({f"p{i}": round(chance.random(), 4) for i in range(6)})
    last = {"acc": chance.uniform(0.5, 1.0), "loss": chance.random()}
    last.update({f"m{i}": chance.random() for i in range(8)})
    tags = [chance.choice(("dev", "prod")), f"team-{chance.randrange(8)}"]
    return MadeRun(number, f"run-{number}", params, last, tags)


def value_at(last: float, step: int) -> float:
    """Value of a metric at a step: it grows to its last."""
    return last * (step + 1) / POINTS
