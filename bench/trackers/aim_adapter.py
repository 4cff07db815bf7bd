"""Aim on a local repository."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.trackers import made

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Aim"]


class Aim:
    """Readers see a run when it was indexed; nothing does that without its server, so we ask for it."""

    script = """
import aim
run = aim.Run(repo=aim.Repo.from_path(FOLDER, init=True), system_tracking_interval=None, capture_terminal_logs=False)
run.track({"loss": 0.3}, step=0)
"""

    def __init__(self, folder: str) -> None:
        self._aim: Any = import_module("aim")
        self._folder = folder
        self.run_id = ""

    def start(self) -> None:
        self._repo = self._aim.Repo.from_path(self._folder, init=True)
        self._run = self._new_run()
        self.run_id = self._run.hash

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.track(values, step=step)

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self._run.close()

    def points(self) -> int:
        repo = self._indexed()
        series = (m for run in repo.iter_runs() for m in run.metrics())
        return sum(len(m.values.sparse_numpy()[0]) for m in series)

    def latest(self, run_id: str) -> Callable[[], float | None]:
        manager = self._manager(self._aim.Repo(self._folder))

        def ask() -> float | None:
            self._aim.Repo._pool.clear()
            manager.index(run_id)
            for run in self._aim.Repo(self._folder).iter_runs():
                for metric in run.metrics():
                    return float(metric.values.sparse_numpy()[1][-1])
            return None

        return ask

    def load_runs(self, runs: int, budget: float) -> int:
        self._repo = self._aim.Repo.from_path(self._folder, init=True)
        until, stored = time.monotonic() + budget, 0
        while stored < runs and time.monotonic() < until:
            given = made.run(stored)
            run = self._new_run()
            run["params"] = given.params
            run["last"] = (
                given.last
            )  # a query can ask for attributes, not for the last value of a metric
            for step in range(made.POINTS):
                run.track({k: made.value_at(v, step) for k, v in given.last.items()}, step=step)
            run.close()
            stored += 1
        self._indexed()
        return stored

    def questions(self) -> dict[str, Callable[[], int]]:
        repo = self._indexed()
        mode = import_module("aim.sdk.types").QueryReportMode.DISABLED

        def values(query: str, limit: int) -> int:
            found = repo.query_runs(query, report_mode=mode).iter_runs()
            return len([run.run[...] for _, run in zip(range(limit), found, strict=False)])

        return {
            "list newest 100": lambda: values("", 100),
            "filter": lambda: values("run.last['acc'] > 0.9 and run.params['lr'] == 0.1", 100),
            "all as a frame": lambda: values("", 1_000_000),
        }

    def load_series(self, points: int, budget: float) -> int:
        self._repo = self._aim.Repo.from_path(self._folder, init=True)
        run = self._new_run()
        until, stored = time.monotonic() + budget, 0
        while stored < points and time.monotonic() < until:
            run.track(stored * 0.5, name="loss", step=stored)
            stored += 1
        run.close()
        self._long = next(iter(next(iter(self._indexed().iter_runs())).metrics()))
        return stored

    def read_series(self) -> int:
        return len(self._long.values.sparse_numpy()[1])

    def _new_run(self) -> Any:
        return self._aim.Run(
            repo=self._repo, system_tracking_interval=None, capture_terminal_logs=False
        )

    def _manager(self, repo: Any) -> Any:
        return import_module("aim.sdk.index_manager").RepoIndexManager.get_index_manager(repo)

    def _indexed(self) -> Any:
        repo = self._aim.Repo(self._folder)
        manager = self._manager(repo)
        for run in repo.list_all_runs():
            manager.index(run)
        self._aim.Repo._pool.clear()
        return self._aim.Repo(self._folder)
