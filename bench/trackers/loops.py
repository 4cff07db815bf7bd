"""The loops: the same code drives every tracker, inside its own interpreter."""

from __future__ import annotations

import sys
import time
from array import array
from typing import Any

from bench.children import tell
from bench.trackers import open_tracker

__all__ = [
    "WARM",
    "ask_runs",
    "calls",
    "count",
    "read_long",
    "store_runs",
    "watch",
    "write_steadily",
]

WARM = 50  # calls before the clock counts


def calls(tracker: str, folder: str, number: int, every: float = 0.0) -> dict[str, float]:
    """Log three metrics `number` times and time every call.

    Args:
        tracker: name.
        folder: of its store.
        number: of timed calls; WARM more go before.
        every: seconds between two calls; 0 for a tight loop.

    Returns:
        Microseconds `p50 p99 mean` of a call; `total` seconds of the loop and of finishing; `points` logged.
    """
    it = open_tracker(tracker, folder)
    it.start()
    log, now = it.log, time.perf_counter
    for step in range(WARM):
        log({"loss": 1.0 / (step + 1), "acc": step * 1e-5, "lr": 0.01}, step)
    it.flush()
    taken = array("d", bytes(8 * number))
    begin = now()
    for i in range(number):
        step = i + WARM
        values = {"loss": 1.0 / (step + 1), "acc": step * 1e-5, "lr": 0.01}
        if every and (rest := begin + i * every - now()) > 0:
            time.sleep(rest)
        before = now()
        log(values, step)
        taken[i] = now() - before
    it.finish()
    total = now() - begin
    ordered = sorted(taken)
    return {
        "p50": ordered[number // 2] * 1e6,
        "p99": ordered[number * 99 // 100] * 1e6,
        "mean": sum(ordered) / number * 1e6,
        "max": ordered[-1] * 1e6,
        "total": total,
        "points": 3 * (number + WARM),
    }


def count(tracker: str, folder: str) -> dict[str, int]:
    """Count what a store holds."""
    return {"points": open_tracker(tracker, folder).points()}


def write_steadily(tracker: str, folder: str, number: int, every: float) -> dict[str, Any]:
    """Log `x = 0, 1, 2 ...`, one value every so many seconds, and remember when each call began.

    Tells the run's id, and waits for a line on stdin before it begins.
    """
    it = open_tracker(tracker, folder)
    it.start()
    it.log({"x": -1.0}, 0)
    it.flush()
    tell(it.run_id)
    sys.stdin.readline()
    began = []
    start = time.perf_counter()
    for i in range(number):
        if (rest := start + i * every - time.perf_counter()) > 0:
            time.sleep(rest)
        began.append(time.perf_counter())
        it.log({"x": float(i)}, i + 1)
        it.flush()
    sys.stdin.readline()  # the reader is done
    it.finish()
    return {"began": began}


def watch(tracker: str, folder: str, run_id: str, number: int, patience: float) -> dict[str, Any]:
    """Ask for the newest `x` again and again, and remember when each value was first seen.

    Tells when it is warm, asks at most once a millisecond, and gives up after `patience` seconds without news.
    """
    latest = open_tracker(tracker, folder).latest(run_id)
    seen: list[tuple[float, float]] = []
    polls = 3
    for _ in range(polls):
        latest()
    tell("ready")
    heard = time.perf_counter()
    while time.perf_counter() - heard < patience:
        value = latest()
        now = time.perf_counter()
        polls += 1
        if value is not None and (not seen or value > seen[-1][0]):
            seen.append((value, now))
            heard = now
            if value >= number - 1:
                break
        time.sleep(0.001)
    return {"seen": seen, "polls": polls}


def ask_runs(
    tracker: str, folder: str, runs: int, repeats: int, budget: float = 60.0
) -> dict[str, Any]:
    """Store runs, then ask the questions of a runs table; returns seconds of each, by question."""
    it = open_tracker(tracker, folder)
    stored = it.load_runs(runs, budget)
    taken: dict[str, list[float]] = {}
    rows: dict[str, int] = {}
    for name, ask in it.questions().items():
        rows[name] = ask()  # warm
        taken[name] = []
        until = time.perf_counter() + budget / 3
        while len(taken[name]) < repeats and (len(taken[name]) < 3 or time.perf_counter() < until):
            begin = time.perf_counter()
            ask()
            taken[name].append(time.perf_counter() - begin)
    return {"runs": stored, "taken": taken, "rows": rows}


def store_runs(tracker: str, folder: str, runs: int, budget: float) -> dict[str, Any]:
    """Store runs and ask nothing; returns how many there are."""
    return {"runs": open_tracker(tracker, folder).load_runs(runs, budget)}


def read_long(
    tracker: str, folder: str, points: int, repeats: int, budget: float
) -> dict[str, Any]:
    """Store one long series and read all of it; returns seconds of each reading."""
    it = open_tracker(tracker, folder)
    stored = it.load_series(points, budget)
    taken, read = [], 0
    for _ in range(repeats):
        begin = time.perf_counter()
        read = it.read_series()
        taken.append(time.perf_counter() - begin)
        if sum(taken) > budget:
            break
    return {"points": stored, "read": read, "taken": taken}
