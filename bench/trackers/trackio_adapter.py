"""Trackio on its local SQLite files."""

from __future__ import annotations

import glob
import json
import os
import sqlite3
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.trackers import made

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Trackio"]

_LAST = """
    select run_id, metrics from (
        select run_id, metrics, row_number() over (partition by run_id order by step desc) as place from metrics
    ) where place = 1
"""
_ACC = "json_extract(metrics, '$.acc')"


class Trackio:
    """It takes its folder from the environment at import; a name stands for a run."""

    script = """
import os
os.environ["TRACKIO_DIR"] = FOLDER
import trackio
trackio.init(project="bench", name="r", embed=False, auto_log_gpu=False, auto_log_cpu=False)
trackio.log({"loss": 0.3}, step=0)
"""

    def __init__(self, folder: str) -> None:
        os.environ["TRACKIO_DIR"] = folder
        self._folder = folder
        self._trackio: Any = import_module("trackio")
        self._storage: Any = import_module("trackio.sqlite_storage").SQLiteStorage
        self.run_id = "r"
        self.log = self._trackio.log

    def start(self) -> None:
        self._trackio.init(
            project="bench", name=self.run_id, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self._trackio.finish()

    def points(self) -> int:
        total = 0
        for path in glob.glob(f"{self._folder}/*.db"):
            for (text,) in sqlite3.connect(path).execute("select metrics from metrics"):
                total += sum(not key.startswith("_") for key in json.loads(text))
        return total

    def latest(self, run_id: str) -> Callable[[], float | None]:
        def ask() -> float | None:
            try:
                values = self._storage.get_metric_values("bench", run_id, "x")
            except sqlite3.OperationalError:
                return None  # its thread has not written anything yet
            return float(values[-1]["value"]) if values else None

        return ask

    def load_runs(self, runs: int, budget: float) -> int:
        until, stored = time.monotonic() + budget, 0
        while stored < runs and time.monotonic() < until:
            run = made.run(stored)
            steps = list(range(made.POINTS))
            rows = [{k: made.value_at(v, step) for k, v in run.last.items()} for step in steps]
            self._storage.bulk_log(
                project="bench", run=run.name, metrics_list=rows, steps=steps, config=run.params,
                run_id=f"{run.number:032x}",
            )  # fmt: skip
            stored += 1
        return stored

    def questions(self) -> dict[str, Callable[[], int]]:
        chosen = f"select l.run_id, {_ACC} as acc, c.config from ({_LAST}) l join configs c using (run_id)"
        lr = "json_extract(c.config, '$.lr') = 0.1"

        def ask(query: str) -> int:
            return len(self._storage.query_project("bench", query)["rows"])

        return {
            "list newest 100": lambda: len(self._storage.get_run_records("bench")[:100]),
            "filter": lambda: ask(f"{chosen} where {_ACC} > 0.9 and {lr} limit 100"),
            "order by metric": lambda: ask(f"{chosen} order by acc desc limit 100"),
            "all as a frame": lambda: ask(f"select run_id, metrics, config from ({_LAST}) join configs using (run_id)"),
        }  # fmt: skip

    def load_series(self, points: int, budget: float) -> int:
        for begin in range(0, points, 50_000):
            steps = list(range(begin, min(begin + 50_000, points)))
            self._storage.bulk_log(
                project="bench", run="long", metrics_list=[{"loss": i * 0.5} for i in steps],
                steps=steps, run_id="long",
            )  # fmt: skip
        return points

    def read_series(self) -> int:
        return len(self._storage.get_metric_values("bench", "long", "loss"))
