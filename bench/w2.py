"""W2: 100 runs in 4 client processes log 100,000 points a second into a gateway; another process asks what is visible.

Open loop: every client has a timetable and keeps it whatever the gateway does; what it falls behind of is told. A probe
logs the time every 50 ms in a process of its own, and a third process asks the gateway for it over HTTP all the time:
the delay runs from before the probe's `log()` to the end of the first answer that had it. It is measured while the load
runs, and on an idle gateway before. Last comes a burst: 5M points as fast as one process can, and how long they take.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench.clients import Client, let_in
from bench.figures import Figure, percentile
from bench.rounds import say

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options
    from mlrun.testing.clickhouse import ClickHouseServer

__all__ = ["run"]

_CLIENTS, _RUNS, _KEYS = 4, 25, 10  # runs of a client, keys of a call
_RATE = 100_000  # points a second, all clients together
_EVERY = 0.05  # seconds between two probes
_GRACE = 60.0  # seconds that the last probe may take
_GROUP, _PART = 0.2, 500_000  # seconds of an insert without us; points of one of a burst


def run(options: Options) -> list[Figure]:
    """Measure W2; with `--series clickhouse`, into ClickHouse, and what that takes without us."""
    from mlrun.testing.gatewayserver import GatewayServer

    seconds = 5 if options.quick else 60
    burst = 200_000 if options.quick else 5_000_000
    state = options.folder / "state"
    state.mkdir()
    with ExitStack() as stack:
        engine = _engine(options, stack)
        told = {"MLRUN_SERIES_URL": engine.url("w2")} if engine else {}
        words = ("--no-flight", "--log-level", "warning")
        store = options.folder / "store"
        gateway = GatewayServer(store, *words, state=state, environ=told)
        with gateway:
            env = let_in(state, options.folder / "spool")
            idle = _visible(env, gateway.url, "idle", 5 if options.quick else 15)
            say(f"w2: idle: visible p95 {percentile(idle, 95):.0f} ms")
            watched = {"gateway": gateway.pid} | ({"engine": engine.pid} if engine else {})
            loaded, found = _load(env, gateway.url, seconds, watched)
            say(f"w2: loaded: visible p95 {percentile(loaded, 95):.0f} ms, {found}")
            drained = Client("bench.w2:burst", env, url=gateway.url, points=burst).answer()
            say(f"w2: burst: {drained}")
        os.environ |= told
        stored = _count(store)
        bare = _bare(engine, seconds, burst) if engine else []
    out = [*_visible_figures(idle, loaded), *_load_figures(found, stored["load"])]
    out += [Figure(f"processors of the {n}", found[n], "") for n in watched]
    return [*out, *_burst_figures(drained, burst, stored["burst"]), *bare]


def _engine(options: Options, stack: ExitStack) -> ClickHouseServer | None:
    if options.series != "clickhouse":
        return None
    from mlrun.testing.clickhouse import ClickHouseServer

    (folder := options.folder / "clickhouse").mkdir()
    return stack.enter_context(ClickHouseServer(folder=folder))


def _visible_figures(idle: list[float], loaded: list[float]) -> list[Figure]:
    return [
        Figure("visible through an idle gateway, p95", percentile(idle, 95), "ms", goal="<= 100"),
        Figure("visible under load, p50", percentile(loaded, 50), "ms"),
        Figure("visible under load, p95", percentile(loaded, 95), "ms", goal="<= 500"),
        Figure("visible under load, max", max(loaded), "ms"),
    ]


def _load_figures(found: dict[str, float], stored: int) -> list[Figure]:
    held = found["points"] / (found["seconds"] + found["drain"])
    return [
        Figure("points a second, held", held, "/s", goal=f">= {_RATE * 0.99:.0f}"),
        Figure("log() of 10 metrics, p50 on the caller", found["p50"], "µs"),
        Figure("log() of 10 metrics, p95 on the caller", found["p95"], "µs"),
        Figure("clients behind their timetable, at most", found["behind"] * 1000, "ms"),
        Figure("from the last point to its acknowledgement", found["drain"], "s"),
        Figure("points lost", found["points"] - stored, "", goal="0"),
        Figure("points dropped", found["dropped"], "", goal="0"),
    ]


def _burst_figures(drained: dict[str, float], burst: int, stored: int) -> list[Figure]:
    return [
        Figure("burst: points logged a second", drained["logged"], "/s"),
        Figure("burst: points acknowledged a second", drained["acknowledged"], "/s"),
        Figure("burst: points lost", burst - stored, "", goal="0"),
    ]


def _visible(env: dict[str, str], url: str, name: str, seconds: float) -> list[float]:
    with ExitStack() as stack:
        start = time.monotonic() + 3.0
        until = start + seconds + _GRACE
        probe = stack.enter_context(
            Client("bench.w2:probe", env, url=url, name=name, start=start, seconds=seconds)
        )
        watch = stack.enter_context(
            Client(
                "bench.w2:watch",
                env,
                url=url,
                name=name,
                last=int(seconds / _EVERY) - 1,
                until=until,
            )
        )
        began, seen = probe.answer()["began"], watch.answer()["seen"]
    return _delays(began, seen)


def _delays(began: list[float], seen: list[tuple[int, float]]) -> list[float]:
    delays, at = [], 0
    for step, begin in enumerate(began):
        while at < len(seen) and seen[at][0] < step:
            at += 1
        if at == len(seen):
            raise RuntimeError(f"{len(began) - step} probes were never seen")
        delays.append((seen[at][1] - begin) * 1000)
    return delays


def _load(
    env: dict[str, str], url: str, seconds: float, watched: dict[str, int]
) -> tuple[list[float], dict[str, float]]:
    start = time.monotonic() + 4.0
    with ExitStack() as stack:
        each = {"url": url, "start": start, "seconds": seconds, "rate": _RATE / _CLIENTS}
        clients = [
            stack.enter_context(Client("bench.w2:load", env, client=i, **each))
            for i in range(_CLIENTS)
        ]
        before, began = {n: _spent(pid) for n, pid in watched.items()}, time.monotonic()
        delays = _visible(env, url, "loaded", seconds)
        taken = time.monotonic() - began
        busy = {n: (_spent(pid) - before[n]) / taken for n, pid in watched.items()}
        found = [client.answer() for client in clients]
    return delays, {
        **busy,
        "points": sum(f["points"] for f in found),
        "seconds": max(f["seconds"] for f in found),
        "p50": percentile([f["p50"] for f in found], 50),
        "p95": max(f["p95"] for f in found),
        "behind": max(f["behind"] for f in found),
        "drain": max(f["drain"] for f in found),
        "dropped": sum(f["dropped"] for f in found),
    }


def _spent(pid: int) -> float:
    """Return the processor seconds of a process and of those that it started."""
    import psutil

    whole = psutil.Process(pid)
    times = [p.cpu_times() for p in (whole, *whole.children(recursive=True))]
    return sum(float(t.user + t.system) for t in times)


def _bare(engine: ClickHouseServer, seconds: float, burst: int) -> list[Figure]:
    """Insert the same rows into the same engine by its own client, a fifth of a second's at once, and as a whole."""
    from mlrun.registry import storage_class
    from mlrun.tables import METRICS

    storage_class("clickhouse:")(engine.url("bare")).create(METRICS)
    client = _driver(engine)
    rows = int(_RATE * _GROUP)
    taken: list[float] = []
    before, begin = _spent(engine.pid), time.monotonic()
    for number in range(int(seconds / _GROUP)):
        time.sleep(max(0.0, begin + number * _GROUP - time.monotonic()))
        start = time.monotonic()
        client.insert_arrow("metrics", _rows(number * rows, rows), database="bare")
        taken.append(time.monotonic() - start)
    spent, whole = _spent(engine.pid) - before, time.monotonic() - begin
    parts = [_rows(at, min(_PART, burst - at)) for at in range(0, burst, _PART)]
    begin = time.monotonic()
    for part in parts:
        client.insert_arrow("metrics", part, database="bare")
    drained = time.monotonic() - begin
    client.close()
    return [
        Figure("bare inserts: p95", percentile(taken, 95) * 1000, "ms"),
        Figure("bare inserts: processors of the engine", spent / whole, ""),
        Figure("bare inserts: burst, points a second", burst / drained, "/s"),
    ]


def _driver(engine: ClickHouseServer) -> Any:
    import clickhouse_connect

    return clickhouse_connect.get_client(host="127.0.0.1", port=engine.port, compress="lz4")


def _rows(first: int, rows: int) -> Any:
    """Return rows as the clients' are: ten keys of 100 runs in turns."""
    import numpy as np
    import pyarrow as pa

    from mlrun.tables import METRICS

    call_ = np.arange(first, first + rows) // _KEYS
    run_ = (call_ % (_CLIENTS * _RUNS)).astype(np.int32)
    ids = [f"c{client}-r{number}" for client in range(_CLIENTS) for number in range(_RUNS)]
    key = (np.arange(rows) % _KEYS).astype(np.int32)
    at = 1_760_000_000_000_000 + call_ * (1_000_000 * _KEYS // _RATE)
    columns = {
        "project": pa.repeat("w2", rows),
        "run_id": pa.DictionaryArray.from_arrays(run_, ids).cast(pa.string()),
        "key": pa.DictionaryArray.from_arrays(key, [f"k{i}" for i in range(_KEYS)]).cast(
            pa.string()
        ),
        "step": pa.array(call_ // (_CLIENTS * _RUNS)),
        "time": pa.array(at).cast(METRICS.schema.field("time").type),
        "value": pa.array(key.astype(np.float64)),
        "writer": pa.repeat("w-bare", rows),
        "seq": pa.array(np.arange(first, first + rows)),
    }
    return pa.table({name: columns[name] for name in METRICS.names})


def _count(folder: Path) -> dict[str, int]:
    import mlrun

    found = mlrun.runs(
        store=folder, where="labels.part is not missing", columns=["run_id", "labels"]
    )
    totals = {"load": 0, "burst": 0}
    for run_id, labels in found.select("run_id", "labels").rows():
        part = json.loads(labels)["part"]
        rows = mlrun.metrics(run_id, store=folder)
        totals[part] += rows.select("key", "step").n_unique()
    return totals


# -- in the children -------------------------------------------------------------------------------


def _init(url: str, name: str, part: str | None = None) -> Any:
    from mlrun.config import settings
    from mlrun.store import open_store
    from mlrun.tracking.start import About, open_run

    known = settings(dbpath=url, project="w2", system_metrics=False, git=False, console=False)
    labels = {"part": part} if part else None
    return open_run(
        open_store(url), known, About(name=name, labels=labels), run_id=name, resume="allow"
    )


def probe(url: str, name: str, start: float, seconds: float) -> dict[str, Any]:
    """Log the number of a probe on a timetable."""
    run_ = _init(url, name)
    began = []
    for step in range(int(seconds / _EVERY)):
        time.sleep(max(0.0, start + step * _EVERY - time.monotonic()))
        began.append(time.monotonic())
        run_.log({"probe": float(step)}, step)
    run_.finish()
    return {"began": began}


def watch(url: str, name: str, last: int, until: float) -> dict[str, Any]:
    """Ask for the newest probe all the time, until the last one is seen."""
    import mlrun

    seen: list[tuple[int, float]] = []
    while time.monotonic() < until and (not seen or seen[-1][0] < last):
        start = seen[-1][0] + 1 if seen else 0
        found = mlrun.metrics(name, keys=["probe"], start=start, store=url)
        if found.height:
            seen.append((found["step"].to_list()[-1], time.monotonic()))
        time.sleep(0.01)
    return {"seen": seen}


def load(url: str, client: int, start: float, seconds: float, rate: float) -> dict[str, Any]:
    """Log on a timetable: every call has ten keys, the runs take turns."""
    runs = [_init(url, f"c{client}-r{i}", "load") for i in range(_RUNS)]
    calls = int(seconds * rate / _KEYS)
    data = {f"k{i}": float(i) for i in range(_KEYS)}
    costs, behind = [], 0.0
    clock = time.perf_counter
    time.sleep(max(0.0, start - time.monotonic()))
    for call in range(calls):
        late = time.monotonic() - start - call * _KEYS / rate
        if late < 0:
            time.sleep(0.002)
        else:
            behind = max(behind, late)
        begin = clock()
        runs[call % _RUNS].log(data, call // _RUNS)
        costs.append(clock() - begin)
    taken = time.monotonic() - start
    end = time.monotonic()
    runs[0].store.deliver(120)
    drain = time.monotonic() - end
    for run_ in runs:
        run_.finish()
    return {
        "points": calls * _KEYS,
        "seconds": max(taken, seconds),
        "p50": percentile(costs, 50) * 1e6,
        "p95": percentile(costs, 95) * 1e6,
        "behind": behind,
        "drain": drain,
        "dropped": sum(r.dropped for r in runs),
    }


def burst(url: str, points: int) -> dict[str, float]:
    """Log as fast as possible, then wait until everything has arrived."""
    run_ = _init(url, "burst", "burst")
    data = {f"k{i}": float(i) for i in range(_KEYS)}
    begin = time.monotonic()
    for step in range(points // _KEYS):
        run_.log(data, step)
    logged = time.monotonic() - begin
    run_.store.deliver(600)
    taken = time.monotonic() - begin
    run_.finish()
    return {"logged": points / logged, "acknowledged": points / taken}
