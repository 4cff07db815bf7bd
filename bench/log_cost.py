"""What `log()` costs the caller, how many points a second go in and stay, and what memory it takes.

Every point that was logged is counted afterwards, by another process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.children import call, environment, memory_of
from bench.figures import OURS, Figure
from bench.rounds import interleaved, run_as, say, subjects
from bench.trackers.ours import QUIET

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

# calls of a tight loop that take a peer some seconds; one call every 2 ms is the same for all that keep up
_CALLS = {"mlflow": 1_000, "aim": 5_000, "wandb": 20_000, "tensorboard": 20_000}
_EVERY = 0.002
_YARDSTICKS = ("JSON lines", "SQLite")
_CONTROLS = (
    "an empty function",
    "appending to lists",
)  # what is left of a tail when nothing is stored


def run(options: Options) -> list[Figure]:
    """Measure `log()`: tight and paced, ours and the peers'; then throughput and memory, ours."""
    figures = _tight(options) + _paced(options)
    return figures + _sustained(options) + _memory(options)


def _tight(options: Options) -> list[Figure]:
    def measure(name: str, folder: Path) -> dict[str, Any]:
        number = 200_000 if name in (OURS, *_YARDSTICKS) else _CALLS.get(name, 50_000)
        return _counted(name, folder, number // 20 if options.quick else number, 0.0)

    names = subjects("log_cost", options, yardsticks=_YARDSTICKS)
    found = interleaved(names, 2 if options.quick else 5, options.folder, measure)
    out = _call_figures("tight loop", found)
    for name, rounds in found.items():
        rates = [r["points"] / r["total"] for r in rounds]
        out.append(Figure.median("tight loop, finishing included", rates, "points/s", subject=name))
    return out


def _paced(options: Options) -> list[Figure]:
    def measure(name: str, folder: Path) -> dict[str, Any]:
        return _counted(name, folder, 500 if options.quick else 3_000, _EVERY)

    names = subjects("log_cost", options, yardsticks=_YARDSTICKS)
    found = interleaved([*names, *_CONTROLS], 1 if options.quick else 3, options.folder, measure)
    controls = [
        Figure.median(f"{name}, a call every 2 ms, p99", [r["p99"] for r in found.pop(name)], "µs",
                      note="a control: it stores nothing")
        for name in _CONTROLS
    ]  # fmt: skip
    return _call_figures("a call every 2 ms", found) + controls


def _counted(name: str, folder: Path, number: int, every: float) -> dict[str, Any]:
    where = str(folder)
    measured = run_as(name, "calls", folder=where, number=number, every=every)
    kept = run_as(name, "count", folder=where)["points"]
    say(
        f"log_cost: {name}, {number:,} calls: p50 {measured['p50']:.1f} µs, {kept:,} points read back"
    )
    return measured | {"lost": measured["points"] - kept}


def _call_figures(loop: str, found: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    goals = {"p50": "<= 5", "p99": "<= 25"}
    out = []
    for name, rounds in found.items():
        lost = sum(r["lost"] for r in rounds)
        note = f"{lost:,.0f} points are missing afterwards" if lost else ""
        for which in ("p50", "p99", "mean"):
            goal = goals.get(which, "") if name == OURS else ""
            values = [r[which] for r in rounds]
            title = f"log() of 3 metrics, {loop}, {which}"
            out.append(Figure.median(title, values, "µs", subject=name, goal=goal, note=note))
            note = ""
    return out


def _sustained(options: Options) -> list[Figure]:
    seconds = 2.0 if options.quick else 20.0

    def measure(name: str, folder: Path) -> dict[str, Any]:
        absorbing = subprocess.Popen(
            [sys.executable, "-P", "-c", _ABSORB, str(folder)], env=environment()
        )
        try:
            done = call("bench.log_cost:pour", folder=str(folder), seconds=seconds)
        finally:
            absorbing.kill()
            absorbing.wait()
        kept = call("bench.log_cost:stored", folder=str(folder))
        rate = done["points"] / done["seconds"]
        say(
            f"log_cost: {rate:,.0f} points/s for {seconds:.0f} s, {kept['absorbed']:,} of them absorbed meanwhile"
        )
        return {"rate": rate, "lost": done["points"] - kept["points"], "wrong": kept["wrong"],
                "absorbed": kept["absorbed"] / done["points"]}  # fmt: skip

    rounds = interleaved([OURS], 1 if options.quick else 3, options.folder, measure)[OURS]
    title = f"one process, {seconds:.0f} s, absorber beside it"
    wrong = sum(abs(r["lost"]) + r["wrong"] for r in rounds)
    share = min(r["absorbed"] for r in rounds)
    note = f"at least {share:.0%} of the points were in Delta when the loop ended"
    return [
        Figure.median(title, [r["rate"] for r in rounds], "points/s", goal=">= 500,000", note=note),
        Figure("points lost, doubled or changed meanwhile", wrong, "", goal="0"),
    ]


# one absorber after the other: what `init` and `finish` of other runs would start
_ABSORB = """
import subprocess, sys, time
while True:
    subprocess.run([sys.executable, "-P", "-m", "mlrun.journal.absorber", sys.argv[1]])
    time.sleep(0.5)
"""


def pour(folder: str, seconds: float) -> dict[str, float]:
    """Log three metrics as fast as it goes, in the child; the clock stops when the run is finished and flushed."""
    import mlrun

    run_ = mlrun.init(project="bench", id="pour", store=folder, **QUIET)
    step = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(1000):
            run_.log({"step": step, "half": step * 0.5, "lr": 0.01}, step)
            step += 1
    run_.finish()
    return {"points": 3 * step, "seconds": time.perf_counter() - begin, "dropped": run_.dropped}


def stored(folder: str) -> dict[str, int]:
    """Count the points of `pour`, and those that are not what was logged, in the child."""
    import mlrun
    from mlrun.tables import METRICS

    absorbed = mlrun.open_store(folder).series.snapshot(METRICS).lazy()
    counts = mlrun.sql(
        """select key, count(*) as n, count(distinct step) as steps, min(step) as low, max(step) as high,
        sum(case when key = 'step' and value <> step or key = 'half' and value <> step * 0.5
            or key = 'lr' and value <> 0.01 then 1 else 0 end) as wrong
        from metrics group by key""",
        store=folder,
    )
    odd = sum(
        n - steps + abs(high - low + 1 - n) + wrong
        for _, n, steps, low, high, wrong in counts.rows()
    )
    in_delta = absorbed.select("step").collect().height
    return {"points": int(counts["n"].sum()), "wrong": int(odd), "absorbed": in_delta}


def _memory(options: Options) -> list[Figure]:
    points = 1_000_000 if options.quick else 10_000_000
    out = []
    for title, width in (("3 keys", 3), ("1,000 keys", 1000)):

        def measure(name: str, folder: Path, width: int = width) -> dict[str, Any]:
            return call("bench.log_cost:grow", folder=str(folder), points=points, width=width)

        found = interleaved([OURS], 1 if options.quick else 3, options.folder, measure)[OURS]
        name = f"memory added by {points:,} points, {title}"
        out.append(
            Figure.median(f"{name}, resident", [r["rss"] for r in found], "MB", goal="<= 64")
        )
        out.append(Figure.median(f"{name}, of no file", [r["anonymous"] for r in found], "MB"))
    return out


def grow(folder: str, points: int, width: int) -> dict[str, float]:
    """Log many points, and return how much memory was added at most, in the child; mapped files count as resident."""
    import mlrun

    run_ = mlrun.init(project="bench", store=folder, **QUIET)
    base = memory_of()
    peak = dict(base)
    calls = points // width
    look = max(calls // 200, 1)
    keys = [f"layer/{i}" for i in range(width)]
    for step in range(calls):
        run_.log(dict.fromkeys(keys, step * 0.5), step)
        if step % look == 0:
            now = memory_of()
            peak = {k: max(peak[k], now[k]) for k in peak}
    run_.finish()
    return {k: (peak[k] - base[k]) / 1e6 for k in peak}
