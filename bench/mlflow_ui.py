"""`mlflow ui` in Chromium, over the runs that our dashboard shows: its runs table and the charts of a run."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

from bench.browsing import browser, free_port, served
from bench.figures import Figure
from bench.peers import PEERS
from bench.rounds import fresh, run_as, say

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["mlflow_ui", "opened"]

_ROWS = '[role="row"] a[href*="/runs/"]'
_CHARTS = ".js-plotly-plot .scatterlayer .trace"


def mlflow_ui(options: Options) -> list[Figure]:
    """Load runs into MLflow by SQL, and open its pages."""
    folder = fresh(options.folder, "mlflow")
    runs = 400 if options.quick else 10_000
    stored = run_as("mlflow", "store_runs", folder=str(folder), runs=runs, budget=600.0)["runs"]
    return opened(folder, stored, 3 if options.quick else 7)


def opened(folder: Path, runs: int, repeats: int) -> list[Figure]:
    """Open the pages of `mlflow ui` over a folder, each by its address, until what it is for is there."""
    port, peer = free_port(), PEERS["mlflow"]
    url = f"http://127.0.0.1:{port}"
    command = [str(peer.python), "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
               "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    experiment, run = _newest(folder)
    base = f"{url}/#/experiments/{experiment}/runs"
    pages = {
        "runs": (base, _ROWS),
        "run, charts": (f"{base}/{run}/model-metrics", _CHARTS),
    }
    out = []
    with served(command, f"{url}/health", dict(peer.quiet)), browser() as page:
        for name, (address, wanted) in pages.items():
            taken = [_until(page, address, wanted) for _ in range(repeats + 1)]
            title = f"{runs:,} runs: page {name}, interactive"
            out.append(Figure.median(title, taken[1:], "s", subject="mlflow"))
            say(f"dashboard: mlflow ui, {title}: {max(taken[1:]):.2f} s at most")
    return out


def _newest(folder: Path) -> tuple[str, str]:
    with sqlite3.connect(folder / "mlflow.db") as db:
        found = db.execute(
            "select experiment_id, run_uuid from runs order by start_time desc limit 1"
        )
        experiment, run = found.fetchone()
    return str(experiment), str(run)


def _until(page: Any, address: str, wanted: str) -> float:
    page.goto("about:blank")
    begin = time.perf_counter()
    page.goto(address)
    page.locator(wanted).first.wait_for()
    return time.perf_counter() - begin
