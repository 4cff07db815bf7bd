"""The runs table: runs x 10 params x 10 metrics x 20 points, every run with data, and what is asked of it.

Runs are logged for real up to 10,000 (four processes: init, log, finish); more are loaded in bulk. Of a million runs
all have their records, and only a share its points: no question about runs reads points. Every question brings the
values of the runs along. What a filter and an order answer is compared with what was made.

Loading and asking may be parted: `--stores DIR --load` makes the stores, `--stores DIR` asks them.
"""

from __future__ import annotations

import heapq
import json
import random
import time
from typing import TYPE_CHECKING, Any

from bench.children import Child, ChildFailed, call, time_script
from bench.clients import loop_late
from bench.figures import OURS, Figure, percentile
from bench.rounds import fresh, interleaved, run_as, say, settle, subjects
from bench.run_cost import files
from bench.trackers import made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run", "stored"]

_LOGGED = 10_000  # up to here runs go through the SDK
_PROCESSES = 4
_GOALS = {10_000: "<= 20", 100_000: "<= 60", 1_000_000: "<= 200"}
_SERVED = {10_000: "<= 50", 100_000: "<= 150"}
_MOST_SERVED = 100_000  # runs that are asked for over a gateway too
_PEER_RUNS = 10_000
_MOST_WHOLE = 100_000  # runs that are read as one frame
_MOST_POINTED = 100_000  # up to here every run has its points
_SHARE = 100  # beyond, one run in so many
_FIRSTS = ("list newest 100", "filter", "selective filter", "order by metric")


def run(options: Options) -> list[Figure]:
    """Measure the sizes asked for, then the peers; with `--records postgresql`, over HTTP alone."""
    if options.records:
        from bench import w1_postgres

        return w1_postgres.run(options)
    sizes = [options.runs] if options.runs else [400, 2_000] if options.quick else [*_GOALS]
    out = []
    for runs in sizes:
        out += _size(options, runs, logged=runs <= _LOGGED and runs == sizes[0])
    return out + (_peers(options, sizes[0]) if options.peers else [])


def _size(options: Options, runs: int, *, logged: bool) -> list[Figure]:
    share = 1 if runs <= _MOST_POINTED else _SHARE
    how = "logged from 4 processes" if logged else "loaded in bulk"
    how += "" if share == 1 else f", points of 1 in {share}"
    folder, built = stored(options, runs, share, logged=logged)
    title = f"{runs:,} runs"
    out = [Figure(f"{title}, {how}", runs / built, "/s")]
    if options.load:
        return out
    repeats = 20 if options.quick else 200 if runs <= _MOST_WHOLE else 100
    goal = _GOALS.get(runs, "")
    found = call("bench.w1:ask", folder=str(folder), runs=runs, repeats=repeats, share=share)
    for name, taken in found["taken"].items():
        out += _times(f"{title}: {name}", taken, goal)
    if runs <= _MOST_WHOLE:
        out += _whole(title, folder, runs, options)
    out += _cold(title, folder, options)
    if runs > _MOST_WHOLE:
        out += _firsts(title, folder, options, goal)
    if runs <= _MOST_SERVED:
        found = call("bench.w1:ask_served", folder=str(folder), runs=runs, repeats=repeats)
        for name, taken in found["taken"].items():
            out += _times(f"{title}, over HTTP: {name}", taken, _SERVED.get(runs, ""))
        out.append(
            Figure(f"{title}, over HTTP: event loop late at most", found["late"] * 1e3, "ms")
        )
    out += _live(title, folder, runs, repeats)
    if options.stores:
        call("bench.w1:forget_live", folder=str(folder))
    return out


def stored(options: Options, runs: int, share: int, *, logged: bool) -> tuple[Path, float]:
    """Return a store of so many runs, and the seconds that it took to make it, now or earlier."""
    folder = options.stores / f"w1-{runs}" if options.stores else fresh(options.folder, "w1")
    told = folder / "built.json"
    if told.exists():
        return folder, float(json.loads(told.read_text())["seconds"])
    begin = time.monotonic()
    if logged:
        _log_runs(folder, runs)
    else:
        call("bench.bulk:load_runs", folder=str(folder), runs=runs, share=share)
    built = time.monotonic() - begin
    say(f"w1: {runs:,} runs made in {built:.0f} s, {files(folder)} files")
    told.write_text(json.dumps({"seconds": built}))
    return folder, built


def _times(
    title: str, taken: list[float], goal: str = "", subject: str = OURS, *, less: bool = False
) -> list[Figure]:
    ms = [t * 1000 for t in taken]
    return [
        Figure(f"{title}, p50", percentile(ms, 50), "ms", subject, less=less),
        Figure(f"{title}, p95", percentile(ms, 95), "ms", subject, goal, less=less),
    ]


def _whole(title: str, folder: Path, runs: int, options: Options) -> list[Figure]:
    repeats = 3 if options.quick or runs > 100_000 else 7
    found = call("bench.w1:whole", folder=str(folder), runs=runs, repeats=repeats, watch=True)
    goal = "<= 0.25" if runs == 10_000 else ""
    return [
        Figure.median(f"{title}: all as a frame", found["taken"], "s", goal=goal),
        Figure(f"{title}: all as a frame, memory at most", found["uss_peak"] / 1e6, "MB"),
    ]


def _cold(title: str, folder: Path, options: Options) -> list[Figure]:
    code = f"import mlrun; mlrun.runs('w1', limit=100, store={str(folder)!r})"
    number = 3 if options.quick else 11
    taken = [time_script(code, before="import polars") for _ in range(number)]
    return [Figure.median(f"{title}: first list of a fresh process", taken, "s", goal="<= 0.5")]


def _firsts(title: str, folder: Path, options: Options, goal: str) -> list[Figure]:
    """Ask in fresh processes, which have all libraries and have read nothing of this store."""
    number = 3 if options.quick else 11
    out = []
    for name in _FIRSTS:
        taken = [
            call("bench.w1:first", folder=str(folder), name=name, seed=seed)["taken"]
            for seed in range(number)
        ]
        out.append(
            Figure(
                f"{title}: {name}, first of its process, worst of {number}",
                max(taken) * 1000,
                "ms",
                goal=goal,
            )
        )
    return out


def first(folder: str, name: str, seed: int) -> dict[str, float]:
    """Ask one question for the first time, in the child; what Python imports was imported for an empty store."""
    import tempfile

    import mlrun

    with tempfile.TemporaryDirectory() as other:
        with mlrun.init("w1", config={"lr": 0.1}, store=other, console=False) as run_:
            run_.log({"acc": 0.9})
        mlrun.runs("w1", "metrics.acc > 0.5", "-metrics.acc", limit=100, store=other)
        question = _questions(folder, seed)[name]
        begin = time.perf_counter()
        question()
        return {"taken": time.perf_counter() - begin}


def _live(title: str, folder: Path, runs: int, repeats: int) -> list[Figure]:
    """Ask while another process logs 100 values a second: its run lies in the journal, over the stored ones."""
    writer = Child("bench.w1:keep_logging", {"folder": str(folder)})
    try:
        writer.line()
        found = call(
            "bench.w1:ask", folder=str(folder), runs=runs, repeats=repeats // 2, check=False
        )
    finally:
        writer.stop()
    wanted = ("list newest 100", "order by metric")
    return [
        figure
        for name in wanted
        for figure in _times(f"{title}, one being logged: {name}", found["taken"][name])
    ]


def _log_runs(folder: Path, runs: int) -> None:
    share = -(-runs // _PROCESSES)
    children = [
        Child(
            "bench.w1:log_runs",
            {"folder": str(folder), "first": first, "end": min(first + share, runs)},
        )
        for first in range(0, runs, share)
    ]
    for child in children:
        child.answer()
    settle(folder)
    call("bench.w1:tidy", folder=str(folder))


def log_runs(folder: str, first: int, end: int) -> dict[str, int]:
    """Log runs the ordinary way, in the child."""
    import mlrun

    for number in range(first, end):
        given = made.run(number)
        with mlrun.init(
            "w1", given.name, given.params, given.tags, store=folder, console=False,
            system_metrics=False, git=False,
        ) as run_:  # fmt: skip
            for step in range(made.POINTS):
                run_.log({k: made.value_at(v, step) for k, v in given.last.items()}, step)
    return {"runs": end - first}


def tidy(folder: str) -> dict[str, int]:
    """Compact, in the child."""
    import mlrun

    return mlrun.compact(store=folder)


def forget_live(folder: str) -> dict[str, int]:
    """Delete the runs that were being logged when their process was killed, in the child: the store is asked again."""
    import mlrun

    mlrun.compact(store=folder)
    deleted = mlrun.delete_runs("name = 'live'", project="w1", store=folder)
    mlrun.compact(store=folder)
    return {"deleted": int(deleted)}


def keep_logging(folder: str) -> dict[str, int]:
    """Log 100 times a second until killed, in the child."""
    import mlrun
    from bench.children import tell

    run_ = mlrun.init("w1", "live", {"lr": 0.1}, store=folder, console=False)
    run_.log({"acc": 0.0})
    tell("ready")
    while True:
        time.sleep(0.01)
        run_.log({"acc": 0.5, "loss": 0.5})


def ask(folder: str, runs: int, repeats: int, share: int = 1, check: bool = True) -> dict[str, Any]:
    """Ask every question some times, in one warm process, in the child; answers are checked first."""
    questions = _questions(folder)
    if check:
        _check(folder, runs, share)
    for question in questions.values():
        question()
    taken: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(repeats):  # in turns, so that none has the caches for itself
        for name, question in questions.items():
            begin = time.perf_counter()
            question()
            taken[name].append(time.perf_counter() - begin)
    return {"taken": taken}


def ask_served(
    folder: str, runs: int, repeats: int, environ: dict[str, str] | None = None
) -> dict[str, Any]:
    """Ask every question through a gateway on this host, a process of its own, in the child."""
    import os
    import tempfile
    from pathlib import Path

    from mlrun.testing.gatewayserver import GatewayServer

    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        served = GatewayServer(Path(folder), "--no-flight", state=Path(state), environ=environ)
        with served as server:
            found = ask(server.url, runs, repeats)
            return {**found, "late": loop_late(server.url, server.token)}


def _questions(folder: str, seed: int = 0) -> dict[str, Callable[[], Any]]:
    """Questions with other values each time."""
    import mlrun

    chance = random.Random(seed)

    def runs(**wanted: Any) -> Any:
        return mlrun.runs("w1", limit=100, store=folder, **wanted)

    def lr() -> float:
        return chance.choice(made.LRS)

    return {
        "list newest 100": lambda: runs(),
        "second page": lambda: runs(offset=100),
        "filter": lambda: runs(
            where=f"metrics.acc > {chance.uniform(0.88, 0.92):.4f} and params.lr = {lr()}"
        ),
        "selective filter": lambda: runs(
            where=f"metrics.acc > {chance.uniform(0.998, 0.9995):.5f} and params.lr = {lr()}"
            " and params.optimizer = 'adam'"
        ),
        "order by metric": lambda: runs(order_by="-metrics.acc"),
        "filter, order by metric": lambda: runs(
            where=f"params.lr = {lr()}", order_by="metrics.loss"
        ),
        "tag": lambda: runs(where=f"'team-{chance.randrange(8)}' in tags"),
    }


def _check(folder: str, runs: int, share: int) -> None:
    """Compare answers with what was made.

    Args:
        folder: of the store.
        runs: how many were made.
        share: one run in so many has points.

    Raises:
        ChildFailed: one of them is wrong.
    """
    import mlrun

    good: set[str] = set()

    def noted() -> Iterator[made.MadeRun]:
        for number in range(runs):  # a million of them are made, not kept
            run_ = made.run(number)
            if run_.last["acc"] > 0.9 and run_.params["lr"] == 0.1:
                good.add(run_.name)
            yield run_

    best = heapq.nlargest(100, noted(), key=lambda r: r.last["acc"])
    where = "metrics.acc > 0.9 and params.lr = 0.1"
    found = mlrun.runs("w1", where=where, store=folder)
    if set(found["name"]) != good or found.height != len(good):
        raise ChildFailed(f"the filter found {found.height} runs, not {len(good)}")
    found = mlrun.runs("w1", order_by="-metrics.acc", limit=100, store=folder)
    if found["name"].to_list() != [r.name for r in best]:
        raise ChildFailed("the order by metric is wrong")
    if found["params.p3"].to_list() != [r.params["p3"] for r in best]:
        raise ChildFailed("params came to the wrong runs")
    # of a metric that the run does not have which is logged meanwhile
    counts = mlrun.sql("select count(*) as n from metrics where key = 'm0'", store=folder)
    if counts.item() != -(-runs // share) * made.POINTS:
        raise ChildFailed(f"{counts.item():,} points are stored")


def whole(folder: str, runs: int, repeats: int) -> dict[str, Any]:
    """Read all runs with all their values, in the child."""
    import mlrun

    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        found = mlrun.runs("w1", store=folder)
        taken.append(time.perf_counter() - begin)
        if found.height != runs:
            raise ChildFailed(f"{found.height} of {runs} runs")
    return {"taken": taken}


def _peers(options: Options, runs: int) -> list[Figure]:
    """Ask the peers the same of as many runs, or of as many as they take in a minute."""

    def measure(name: str, folder: Path) -> dict[str, Any]:
        given = min(runs, _PEER_RUNS)
        repeats = 3 if options.quick else 30
        budget = 10.0 if options.quick else 60.0
        found = run_as(
            name, "ask_runs", folder=str(folder), runs=given, repeats=repeats, budget=budget
        )
        say(f"w1: {name} with {found['runs']:,} runs: {found['rows']}")
        return found

    names = [n for n in subjects("w1", options) if n != OURS]
    out = []
    for name, [found] in interleaved(names, 1, options.folder, measure).items():
        less = found["runs"] < runs
        for question, taken in found["taken"].items():
            title = f"{runs:,} runs: {question}"
            if question == "all as a frame":
                out.append(Figure.median(title, taken, "s", subject=name, less=less))
            else:
                out += _times(title, taken, subject=name, less=less)
        asked = max(len(taken) for taken in found["taken"].values())
        note = f"asked {asked} times at most" + (
            "; as many runs as it took in a minute" if less else ""
        )
        out.append(Figure(f"{runs:,} runs: of these stored", found["runs"], "", name, note=note))
    return out
