"""Kill processes at random moments and look whether anything is lost or doubled.

`run_crash` starts real writer processes, an absorber and readers on one store, kills them with SIGKILL, and compares
what the store says afterwards with what the writers had been told. Tests use it for a few moments, the benchmark for
hundreds.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CrashReport", "run_crash"]

# a call is acknowledged by one 8-byte write to a pipe after it returned
_WRITER = """
import os, sys, time, mlrun
out = int(sys.argv[1])
run = mlrun.init(project="crash", id=sys.argv[2], store=sys.argv[3], console=False, system_metrics=False, git=False)
step = 0
while True:
    run.log({"a": float(step), "b": -float(step), "c/d": 0.5})
    os.write(out, step.to_bytes(8, "little"))
    step += 1
    if step > 5_000 and not step % 32:
        time.sleep(0.002)  # what is checked afterwards must stay small
"""


@dataclass
class CrashReport:
    """What happened: `acknowledged` calls, rows found, and every violation as a sentence."""

    acknowledged: int = 0
    rows: int = 0
    absorbers_killed: int = 0
    reads: int = 0
    violations: list[str] = field(default_factory=list)


class _Child:
    """A writer, and how many of its calls it has acknowledged; its pipe is emptied all the time, or it would stall."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: int, run_id: str) -> None:
        self.process = process
        self.run_id = run_id
        self.logging = threading.Event()  # its first call returned, or it ended
        self._pipe = pipe
        self._bytes = 0
        self._reader = threading.Thread(target=self._empty)
        self._reader.start()

    def acknowledged(self) -> int:
        """Wait until it has ended, and return how many calls were acknowledged."""
        self._reader.join()
        self.process.wait()
        return self._bytes // 8

    def _empty(self) -> None:
        while block := os.read(self._pipe, 1 << 20):
            self._bytes += len(block)
            self.logging.set()
        self.logging.set()
        os.close(self._pipe)


def run_crash(
    folder: Path,
    *,
    writers: int = 1,
    seconds: float = 0.3,
    seed: int = 0,
    absorb: bool = True,
    read: bool = True,
) -> CrashReport:
    """Let writers log for a random while, kill them all, and check every acknowledged call.

    Args:
        folder: of the store; may hold earlier rounds.
        writers: processes, a run each.
        seconds: the longest time that they live after their first call.
        seed: of the moments.
        absorb: absorbers run meanwhile, and are killed too, twice on average.
        read: a reader asks for the points all the time and checks what it sees.
    """
    chance = random.Random(seed)
    report = CrashReport()
    children = [_start(folder, f"crash-{seed}-{i}") for i in range(writers)]
    for child in children:
        child.logging.wait()
    stop = threading.Event()
    workers = []
    if absorb:
        workers.append(
            threading.Thread(
                target=_absorb_and_kill, args=(folder, stop, report, random.Random(seed))
            )
        )
    if read:
        workers.append(threading.Thread(target=_read, args=(folder, children, stop, report)))
    for worker in workers:
        worker.start()
    time.sleep(chance.uniform(0, seconds))
    for child in children:
        child.process.kill()
    acknowledged = {c.run_id: c.acknowledged() for c in children}
    report.violations += [
        f"run {r}: no call returned" for r, calls in acknowledged.items() if not calls
    ]
    stop.set()
    for worker in workers:
        worker.join()
    _check(folder, acknowledged, report)
    return report


def _start(folder: Path, run_id: str) -> _Child:
    mine, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    home = str(Path(__file__).absolute().parents[2])
    env = {**os.environ, "MLRUN_QUIET": "1", "PYTHONPATH": home}
    command = [sys.executable, "-P", "-c", _WRITER, str(theirs), run_id, str(folder)]
    process = subprocess.Popen(command, pass_fds=[theirs], env=env, stdout=subprocess.DEVNULL)
    os.close(theirs)
    return _Child(process, mine, run_id)


def _absorb_and_kill(
    folder: Path, stop: threading.Event, report: CrashReport, chance: random.Random
) -> None:
    home = str(Path(__file__).absolute().parents[2])
    env = {**os.environ, "PYTHONPATH": home}
    while not stop.is_set():
        command = [sys.executable, "-P", "-m", "mlrun.journal.absorber", str(folder)]
        absorber = subprocess.Popen(command, env=env)
        with contextlib.suppress(subprocess.TimeoutExpired):
            absorber.wait(chance.uniform(0.3, 2.0))
        if absorber.poll() is None:
            absorber.kill()
            report.absorbers_killed += 1
        if absorber.wait() not in (0, -9):
            report.violations.append(f"an absorber ended with {absorber.returncode}")


def _read(folder: Path, children: list[_Child], stop: threading.Event, report: CrashReport) -> None:
    import mlrun

    seen = 0
    while not stop.is_set():
        points = mlrun.metrics([c.run_id for c in children], store=folder)
        report.reads += 1
        if points.height < seen:
            report.violations.append(f"a reader saw {seen} rows, then {points.height}")
        seen = points.height
        report.violations += _faults(points)


def _faults(points: pl.DataFrame) -> list[str]:
    """Rows that are doubled, calls that are there in part, steps that are missing in the middle."""
    import polars as pl

    by_call = points.group_by("run_id", "step").agg(
        pl.len().alias("rows"), pl.col("key").n_unique().alias("keys")
    )
    wrong = by_call.filter((pl.col("rows") != 3) | (pl.col("keys") != 3))
    out = [f"run {r}, step {s}: {n} rows of {k} keys" for r, s, n, k in wrong.head(3).rows()]
    gaps = by_call.group_by("run_id").agg((pl.col("step").max() + 1 - pl.len()).alias("missing"))
    out += [f"run {r}: {n} steps are missing" for r, n in gaps.rows() if n]
    return out


def _check(folder: Path, acknowledged: dict[str, int], report: CrashReport) -> None:
    import polars as pl

    import mlrun

    points = mlrun.metrics(list(acknowledged), store=folder)
    report.rows = points.height
    report.violations += _faults(points)
    found = dict(points.group_by("run_id").agg(pl.col("step").n_unique()).iter_rows())
    for run_id, calls in acknowledged.items():
        report.acknowledged += calls
        if not calls <= found.get(run_id, 0) <= calls + 1:
            report.violations.append(
                f"run {run_id}: {calls} calls returned, {found.get(run_id, 0)} are stored"
            )
    states = mlrun.runs("crash", columns=["run_id", "state"], store=folder)
    for run_id, state in states.rows():
        if run_id in acknowledged and state != "lost":
            report.violations.append(f"run {run_id} is {state} although its process was killed")
