"""The runs table with its records in PostgreSQL, asked over HTTP as a team asks it: `w1 --records postgresql`.

The server is that of the tests, with the durability that people have; the points lie in files. Runs are loaded in bulk,
and the answers are those of `w1`, checked in the same way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.children import call
from bench.figures import Figure, percentile
from bench.rounds import fresh, say

if TYPE_CHECKING:
    from bench.figures import Options

__all__ = ["run"]

_GOALS = {10_000: "<= 50", 100_000: "<= 150"}


def run(options: Options) -> list[Figure]:
    """Measure 10,000 and 100,000 runs, or as many as are asked for."""
    from mlrun.testing.postgres import PostgresServer

    sizes = [options.runs] if options.runs else [2_000] if options.quick else [*_GOALS]
    repeats = 20 if options.quick else 200
    out = []
    with PostgresServer(durable=True) as server:
        for runs in sizes:
            url = server.database()
            out += _size(options, url, runs, repeats)
            server.drop(url)
    return out


def _size(options: Options, url: str, runs: int, repeats: int) -> list[Figure]:
    folder = fresh(options.folder, "w1")
    told = {"MLRUN_RECORDS_URL": url}
    begin = time.monotonic()
    call("bench.bulk:load_runs", extra=told, folder=str(folder), runs=runs)
    built = time.monotonic() - begin
    say(f"w1: {runs:,} runs loaded into PostgreSQL in {built:.0f} s")
    title = f"{runs:,} runs in PostgreSQL"
    out = [Figure(f"{title}, loaded in bulk", runs / built, "/s")]
    given: dict[str, Any] = {"folder": str(folder), "runs": runs, "repeats": repeats}
    found = call("bench.w1:ask_served", **given, environ=told)
    for name, taken in found["taken"].items():
        ms = [t * 1000 for t in taken]
        out.append(Figure(f"{title}, over HTTP: {name}, p50", percentile(ms, 50), "ms"))
        goal = _GOALS.get(runs, "")
        out.append(Figure(f"{title}, over HTTP: {name}, p95", percentile(ms, 95), "ms", goal=goal))
    late = found["late"] * 1e3
    return [*out, Figure(f"{title}, over HTTP: event loop late at most", late, "ms")]
