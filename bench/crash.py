"""SIGKILL at random moments, while absorbers run and are killed too, and readers read: what is lost or doubled."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from bench.figures import Figure
from bench.rounds import fresh, say
from mlrun.testing.crash import CrashReport, run_crash

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["crash_rounds", "run"]

_ROUNDS_IN_A_STORE = 20  # then a fresh one: early and late lives of a store are both of interest


def run(options: Options) -> list[Figure]:
    """Kill 1 writer, and 8 at once, 200 times each; every row of every returned call is looked for."""
    out = []
    for writers in (1, 8):
        rounds = 4 if options.quick else 200
        begin = time.monotonic()
        report = crash_rounds(options.folder, writers, rounds)
        say(f"crash: {rounds} rounds of {writers} in {time.monotonic() - begin:.0f} s")
        for violation in report.violations[:10]:
            say(f"  {violation}")
        title = f"{rounds} SIGKILL moments, {writers} writer{'s' if writers > 1 else ''}"
        out += [
            Figure(f"{title}: rows lost, doubled or torn", len(report.violations), "", goal="0"),
            Figure(f"{title}: calls that had returned", report.acknowledged, ""),
            Figure(f"{title}: rows found", report.rows, ""),
            Figure(f"{title}: absorbers killed", report.absorbers_killed, ""),
            Figure(f"{title}: reads meanwhile", report.reads, ""),
        ]
    return out


def crash_rounds(folder: Path, writers: int, rounds: int, *, seed: int = 0) -> CrashReport:
    """Do so many rounds and add up their reports."""
    total = CrashReport()
    store = folder
    for number in range(rounds):
        if number % _ROUNDS_IN_A_STORE == 0:
            if store != folder:
                shutil.rmtree(store)
            store = fresh(folder, "crash")
        report = run_crash(store, writers=writers, seed=seed + writers * 1_000_000 + number)
        total.acknowledged += report.acknowledged
        total.rows += report.rows
        total.absorbers_killed += report.absorbers_killed
        total.reads += report.reads
        total.violations += [f"round {number}: {v}" for v in report.violations]
    if store != folder:
        shutil.rmtree(store)
    return total
