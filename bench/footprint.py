"""Bytes a point on the disk, everything counted: rows, rollups, summaries, Delta's log, what the journal keeps."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from bench.children import call
from bench.figures import Figure
from bench.rounds import fresh, say, settle

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["folder_bytes", "run"]

_RUNS, _KEYS = 10, 10
_PARTS = {
    "rows": "series/metrics",
    "rollups": "series/metrics_rollups",
    "records": "",
    "journal": "journal",
}


def run(options: Options) -> list[Figure]:
    """Log 10 runs x 10 keys x 100,000 steps of random values, compact, and weigh the folder."""
    steps = 2_000 if options.quick else 100_000
    folder = fresh(options.folder, "bytes")
    for number in range(_RUNS):  # a process a run, as it is with training scripts
        call("bench.footprint:log_randomly", folder=str(folder), number=number, steps=steps)
    settle(folder)
    journal = folder_bytes(folder)
    call("bench.w1:tidy", folder=str(folder))
    points = _RUNS * _KEYS * steps
    total = folder_bytes(folder)
    say(f"footprint: {total:,} bytes for {points:,} points, {journal:,} before compaction")
    title = "bytes a point of random values"
    out = [
        Figure(f"{title}, before compaction", journal / points, ""),
        Figure(f"{title}, after compaction", total / points, "", goal="<= 20"),
    ]
    for name, part in _PARTS.items():
        size = folder_bytes(folder / part, deep=bool(part))
        out.append(Figure(f"{title}, of these {name}", size / points, ""))
    return out


def log_randomly(folder: str, number: int, steps: int) -> dict[str, int]:
    """Log random values, in the child; they cannot be compressed, unlike most curves."""
    import mlrun

    chance = random.Random(number)
    with mlrun.init("bench", store=folder, console=False, system_metrics=False, git=False) as run_:
        for step in range(steps):
            run_.log({f"metric/{k}": chance.random() for k in range(_KEYS)}, step)
    return {"steps": steps}


def folder_bytes(folder: Path, *, deep: bool = True) -> int:
    """Add up the sizes of the files in a folder, and below it if `deep`."""
    total = 0
    for place, folders, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(place, name)).st_size for name in names)
        if not deep:
            folders.clear()
    return total
