"""MLflow on a SQLite store, with its synchronous client (its default)."""

from __future__ import annotations

import os
import sqlite3
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.trackers import made

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Mlflow"]

_START = 1_700_000_000_000  # milliseconds
_COLUMNS = {
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time"
    " source_version lifecycle_stage artifact_uri experiment_id",
    "params": "key value run_uuid",
    "tags": "key value run_uuid",
    "metrics": "key value timestamp run_uuid step is_nan",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
}


class Mlflow:
    """Runs are loaded by SQL into the tables that MLflow itself made; everything else goes through its API."""

    script = """
import os
os.chdir(FOLDER)
import mlflow
mlflow.set_tracking_uri("sqlite:///" + FOLDER + "/mlflow.db")
mlflow.set_experiment("bench")
mlflow.start_run()
mlflow.log_metrics({"loss": 0.3}, step=0)
"""

    def __init__(self, folder: str) -> None:
        os.chdir(folder)  # it writes beside the script
        self._mlflow: Any = import_module("mlflow")
        self._path = f"{folder}/mlflow.db"
        self._artifacts = f"file://{folder}/artifacts"
        self._mlflow.set_tracking_uri(f"sqlite:///{self._path}")
        self.run_id = ""
        self.log = self._mlflow.log_metrics

    def start(self) -> None:
        self._mlflow.set_experiment("bench")
        self.run_id = self._mlflow.start_run().info.run_id

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self._mlflow.end_run()

    def points(self) -> int:
        db = sqlite3.connect(self._path)
        return int(db.execute("select count(*) from metrics").fetchone()[0])

    def latest(self, run_id: str) -> Callable[[], float | None]:
        client = self._mlflow.MlflowClient()

        def ask() -> float | None:
            value = client.get_run(run_id).data.metrics.get("x")
            return None if value is None else float(value)

        return ask

    def load_runs(self, runs: int, budget: float) -> int:
        experiment = self._experiment()
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("pragma synchronous = off")
        db.execute("begin")
        until, stored = time.monotonic() + budget, 0
        while stored < runs and time.monotonic() < until:
            rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _COLUMNS}
            for number in range(stored, min(stored + 500, runs)):
                self._rows_of(made.run(number), experiment, rows)
            for name, found in rows.items():
                self._insert(db, name, found)
            stored += len(rows["runs"])
        db.execute("commit")
        db.close()
        return stored

    def questions(self) -> dict[str, Callable[[], int]]:
        client, experiment = self._mlflow.MlflowClient(), str(self._experiment())

        def search(**arguments: Any) -> int:
            return len(client.search_runs([experiment], max_results=100, **arguments))

        newest = ["attributes.start_time DESC"]
        first = client.search_runs([experiment], max_results=100, order_by=newest)
        return {
            "list newest 100": lambda: search(order_by=newest),
            "second page": lambda: search(order_by=newest, page_token=first.token),
            "filter": lambda: search(filter_string="metrics.acc > 0.9 and params.lr = '0.1'"),
            "selective filter": lambda: search(
                filter_string="metrics.acc > 0.999 and params.lr = '0.1' and params.optimizer = 'adam'"
            ),
            "order by metric": lambda: search(order_by=["metrics.acc DESC"]),
            "all as a frame": lambda: len(
                self._mlflow.search_runs([experiment], max_results=50_000)
            ),
        }

    def load_series(self, points: int, budget: float) -> int:
        client = self._mlflow.MlflowClient()
        self.run_id = client.create_run(str(self._experiment())).info.run_id
        client.log_metric(self.run_id, "loss", 0.0, step=0, timestamp=_START)
        db = sqlite3.connect(self._path)
        rows = (("loss", i * 0.5, _START + i, self.run_id, i, 0) for i in range(1, points))
        self._insert(db, "metrics", rows)
        db.commit()
        db.close()
        return points

    def read_series(self) -> int:
        return len(self._mlflow.MlflowClient().get_metric_history(self.run_id, "loss"))

    def _experiment(self) -> int:
        client = self._mlflow.MlflowClient()
        found = client.get_experiment_by_name("table")
        made_now = (
            found.experiment_id if found else client.create_experiment("table", self._artifacts)
        )
        return int(made_now)

    def _insert(self, db: sqlite3.Connection, table: str, rows: Any) -> None:
        names = _COLUMNS[table].split()
        marks = ", ".join("?" for _ in names)
        db.executemany(f"insert into {table} ({', '.join(names)}) values ({marks})", rows)

    def _rows_of(
        self, run: made.MadeRun, experiment: int, rows: dict[str, list[tuple[Any, ...]]]
    ) -> None:
        ident, begin = f"{run.number:032x}", _START + run.number * 1000
        end = begin + 900
        where = f"{self._artifacts}/{ident}"
        rows["runs"].append(
            (ident, run.name, "UNKNOWN", "", "", "bench", "FINISHED", begin, end, "", "active", where, experiment)
        )  # fmt: skip
        rows["params"] += [(key, str(value), ident) for key, value in run.params.items()]
        rows["tags"] += [(tag, "1", ident) for tag in run.tags]
        rows["tags"].append(("mlflow.runName", run.name, ident))
        final = made.POINTS - 1
        for key, last in run.last.items():
            rows["metrics"] += [
                (key, made.value_at(last, step), begin + step, ident, step, 0)
                for step in range(made.POINTS)
            ]
            rows["latest_metrics"].append((key, last, begin + final, final, 0, ident))
