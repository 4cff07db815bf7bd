"""`python -m bench [names] [--quick] [--peers] [--json FILE]`: run workloads, print their tables."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.figures import Options, machine, report, table
from bench.rounds import settle

__all__ = ["WORKLOADS", "main"]

WORKLOADS = {
    "startup": "from a fresh process to the first logged value",
    "log_cost": "what a call costs, points a second, memory",
    "visible": "from log() to another process",
    "run_cost": "creating and finishing runs, files left behind",
    "w1": "the table of 10,000, 100,000 and 1,000,000 runs",
    "charts": "series of 1M and 100M points",
    "clickhouse": "series in ClickHouse: appends, 1M and 100M points",
    "footprint": "bytes a point",
    "trials": "hyperparameter jobs and single calls, here and on Ray",
    "downsample": "a thousand long series on Ray",
    "w2": "100,000 points a second into a gateway",
    "w3": "fifty users of a gateway while twenty processes write",
    "dashboard": "the pages in a browser",
    "crash": "SIGKILL at random moments",
}


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names; everything if it names nothing."""
    given = _parse(arguments)
    results = []
    for name in given.names or WORKLOADS:
        result, text = _measure(name, given)
        results.append(result)
        print(text, end="\n\n", flush=True)
        if given.json:  # after each: what was measured stays when the next one fails
            _write(Path(given.json), results, quick=given.quick)
    if not given.json:
        print(json.dumps({"machine": machine(), "results": results}))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure workloads, ours and the peers'.",
        epilog="\n".join(f"{name:10} {what}" for name, what in WORKLOADS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="workloads; default all")
    parser.add_argument("--quick", action="store_true", help="small sizes: see whether it works")
    parser.add_argument("--peers", action="store_true", help="the peers too, in the same run")
    parser.add_argument("--runs", type=int, default=0, help="of w1, instead of its two sizes")
    parser.add_argument(
        "--stores", help="of w1: keep the stores there, and ask those that are there"
    )
    parser.add_argument("--load", action="store_true", help="of w1: make the stores, ask nothing")
    parser.add_argument(
        "--records", choices=("", "postgresql"), default="", help="of w1: where runs lie"
    )
    parser.add_argument(
        "--series", choices=("", "clickhouse"), default="", help="of w2: where points lie"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there, not to stdout")
    parser.add_argument("--folder", help="where stores are made; default the temporary folder")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - set(WORKLOADS)):
        parser.error(f"no workload {unknown[0]!r}: there are {', '.join(WORKLOADS)}")
    if given.load and not given.stores:
        parser.error("--load makes stores to keep: say where with --stores")
    return given


def _measure(name: str, given: argparse.Namespace) -> tuple[dict[str, Any], str]:
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=given.folder))
    begin = time.monotonic()
    try:
        stores = Path(given.stores).resolve() if given.stores else None
        options = Options(
            folder,
            given.quick,
            given.peers,
            given.runs,
            stores,
            given.load,
            given.records,
            given.series,
        )
        figures = import_module(f"bench.{name}").run(options)
    finally:
        settle(folder)
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - begin
    print(f"{name}: {seconds:.0f} s", file=sys.stderr)
    return report(name, figures, seconds), table(name, figures)


def _write(path: Path, results: list[dict[str, Any]], *, quick: bool) -> None:
    text = json.dumps({"machine": machine(), "quick": quick, "results": results}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
