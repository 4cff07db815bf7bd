"""W3: fifty users of a gateway look at runs and charts over HTTP while twenty processes log through it.

The gateway serves 10,000 stored runs. Each user lists runs, opens one, sees its charts, filters, compares four, and
thinks in between: a second, as people do, and 20 ms, as the workload was first written down, which asks for all that
the machine can give. Every second run that is opened is being written. Users live in two processes, writers in one
each, on the same cores as the gateway. In the end every written point is counted.
"""

from __future__ import annotations

import random
import shutil
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench.bulk import run_id
from bench.clients import Client, let_in, loop_late
from bench.figures import OURS, Figure, percentile
from bench.rounds import fresh, say
from bench.w1 import stored

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

_USERS, _PROCESSES, _WRITERS = 50, 2, 20
_KEYS, _RATE = 10, 10.0  # keys of a call, calls a second of a writer
_THINKS = (1.0, 0.02)  # seconds
_OPENED = 500  # stored runs that are opened
_GOAL, _GOAL_LATE = "<= 300", "<= 50"


def run(options: Options) -> list[Figure]:
    """Measure W3, and MLflow's server at the same if it is asked for and installed."""
    runs = options.runs or (400 if options.quick else 10_000)
    seconds = 5.0 if options.quick else 60.0
    made, _ = stored(options, runs, 1, logged=False)
    out: list[Figure] = []
    for think in _THINKS:
        place = fresh(options.folder, "w3")
        shutil.copytree(made, place / "store")
        out += _ours(place, runs, seconds, think)
        shutil.rmtree(place)
    if options.peers:
        from bench.w3_mlflow import measure

        out += measure(options, runs, seconds, _THINKS)
    return out


def _ours(place: Path, runs: int, seconds: float, think: float) -> list[Figure]:
    from mlrun.testing.gatewayserver import GatewayServer

    state = place / "state"
    state.mkdir()
    words = ("--no-flight", "--log-level", "warning")
    with GatewayServer(place / "store", *words, state=state) as gateway, ExitStack() as stack:
        env = let_in(state, place / "spool")
        live = [f"live-{i}" for i in range(_WRITERS)]
        start = time.monotonic() + 20.0
        each = {"url": gateway.url, "start": start, "seconds": seconds}
        writers = [
            stack.enter_context(Client("bench.w3:write", env, name=name, **each)) for name in live
        ]
        found = visit("mlrun", gateway.url, gateway.token, env, runs, live, start, seconds, think)
        late = loop_late(gateway.url, gateway.token)
        written = [writer.answer() for writer in writers]
    counts = _count(place / "store", live)
    lost = sum(w["calls"] * _KEYS for w in written) - sum(counts.values())
    title = f"think {think:g} s"
    say(
        f"w3: {title}: {len(found['errors'])} errors {found['errors'][:3]}, {found['same']} unchanged"
    )
    return [
        *figures(title, found, seconds, OURS),
        Figure(f"{title}: event loop late at most", late * 1e3, "ms", goal=_GOAL_LATE),
        Figure(f"{title}: points written a second", sum(counts.values()) / seconds, "/s"),
        Figure(f"{title}: log() of 10 metrics, p95", max(w["p95"] for w in written) * 1e6, "µs"),
        Figure(f"{title}: from the last point to its acknowledgement", max(w["drain"] for w in written), "s"),
        Figure(f"{title}: points lost", lost, "", goal="0"),
    ]  # fmt: skip


def visit(
    kind: str, url: str, token: str, env: dict[str, str], runs: int, live: list[str],
    start: float, seconds: float, think: float, ids: list[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Have the users at work; returns what they saw: `taken` by question, `errors`, `same`."""
    chance = random.Random(0)
    ids = ids or [run_id(chance.randrange(runs)) for _ in range(_OPENED)]
    each = _USERS // _PROCESSES
    told: dict[str, Any] = {
        "kind": kind, "url": url, "token": token, "users": each, "start": start, "seconds": seconds,
        "think": think, "ids": ids, "live": live,
    }  # fmt: skip
    with ExitStack() as stack:
        groups = [
            stack.enter_context(Client("bench.users:use", env, first=i * each, **told))
            for i in range(_PROCESSES)
        ]
        answers = [group.answer() for group in groups]
    taken: dict[str, list[float]] = {}
    for answer in answers:
        for what, times in answer["taken"].items():
            taken.setdefault(what, []).extend(times)
    errors = [text for answer in answers for text in answer["errors"]]
    return {"taken": taken, "errors": errors, "same": sum(a["same"] for a in answers)}


def figures(title: str, found: dict[str, Any], seconds: float, subject: str) -> list[Figure]:
    """Return what users saw, as figures."""
    goal = _GOAL if subject == OURS else ""
    every = [t * 1e3 for times in found["taken"].values() for t in times]
    out = [
        Figure(f"{title}: all answers, p50", percentile(every, 50), "ms", subject),
        Figure(f"{title}: all answers, p95", percentile(every, 95), "ms", subject, goal),
        Figure(f"{title}: all answers, p99", percentile(every, 99), "ms", subject),
    ]
    for what, times in sorted(found["taken"].items()):
        taken = percentile([t * 1e3 for t in times], 95)
        out.append(Figure(f"{title}: {what}, p95", taken, "ms", subject, goal))
    return [
        *out,
        Figure(f"{title}: answers a second", len(every) / seconds, "/s", subject),
        Figure(f"{title}: errors", len(found["errors"]), "", subject, "0" if goal else ""),
    ]


def _count(folder: Path, live: list[str]) -> dict[str, int]:
    """Return how many points each run has, none counted twice."""
    import mlrun

    store = mlrun.open_store(folder)
    try:
        return {
            name: mlrun.metrics(name, store=store).select("key", "step").n_unique() for name in live
        }
    finally:
        store.close()


def write(url: str, name: str, start: float, seconds: float) -> dict[str, Any]:
    """Log on a timetable, in the child: every call has ten keys."""
    from mlrun.config import settings
    from mlrun.store import open_store
    from mlrun.tracking.start import About, open_run

    known = settings(dbpath=url, project="w1", system_metrics=False, git=False, console=False)
    run_ = open_run(open_store(url), known, About(name=name), run_id=name)
    keys = ["acc", "loss", *(f"m{i}" for i in range(8))]
    run_.log(dict.fromkeys(keys, 0.5), 0)
    costs, calls = [], int(seconds * _RATE)
    for call in range(1, calls):
        time.sleep(max(0.0, start + call / _RATE - time.monotonic()))
        begin = time.perf_counter()
        run_.log({key: call / calls + place for place, key in enumerate(keys)}, call)
        costs.append(time.perf_counter() - begin)
    end = time.monotonic()
    run_.store.deliver(120)
    drain = time.monotonic() - end
    run_.finish()
    return {"calls": calls, "p95": percentile(costs, 95), "drain": drain}
