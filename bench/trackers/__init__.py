"""One adapter a tracker, and the loops that drive all of them with the same code.

These modules run inside each tracker's own interpreter: the standard library and the tracker are all that they import,
and the tracker only inside functions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TRACKERS", "Tracker", "WideTracker", "open_tracker", "start_script"]

TRACKERS = {
    "mlrun": "bench.trackers.ours:Ours",
    "JSON lines": "bench.trackers.plain:JsonLines",
    "SQLite": "bench.trackers.plain:Database",
    "an empty function": "bench.trackers.plain:Nothing",
    "appending to lists": "bench.trackers.plain:Lists",
    "mlflow": "bench.trackers.mlflow_adapter:Mlflow",
    "wandb": "bench.trackers.wandb_adapter:Wandb",
    "aim": "bench.trackers.aim_adapter:Aim",
    "trackio": "bench.trackers.trackio_adapter:Trackio",
    "tensorboard": "bench.trackers.tensorboard_adapter:TensorBoard",
}


class Tracker(Protocol):
    """How a tracker is driven: one run, written by one process, read by another.

    Attributes:
        log: called as `log(values, step)`; the tracker's own function where its order of arguments allows.
        run_id: known after `start`; what `latest` of another process is given.
        script: statements from nothing to the first logged value, with `FOLDER` for a path, for the start-up time.
    """

    log: Callable[[dict[str, float], int], Any]
    run_id: str
    script: str

    def __init__(self, folder: str) -> None: ...

    def start(self) -> None:
        """Open a run."""

    def flush(self) -> None:
        """Ask for what was logged to be visible, where the tracker wants to be asked."""

    def finish(self) -> None:
        """End the run; what was logged is stored when this returns."""

    def points(self) -> int:
        """Count what is stored."""

    def latest(self, run_id: str) -> Callable[[], float | None]:
        """Return a function that asks for the newest value of `x`; None while there is none."""


class WideTracker(Tracker, Protocol):
    """A tracker with a table of runs, and series to be read back."""

    def load_runs(self, runs: int, budget: float) -> int:
        """Store runs of `bench.trackers.made.run`, for at most `budget` seconds; return how many."""

    def questions(self) -> dict[str, Callable[[], int]]:
        """Return what is asked of the runs table, by the name of the figure; each returns a number of rows."""

    def load_series(self, points: int, budget: float) -> int:
        """Store one long series, for at most `budget` seconds; return its length."""

    def read_series(self) -> int:
        """Read all of it; return how many values came."""


def open_tracker(name: str, folder: str) -> Any:
    """Return the adapter of a tracker at a folder."""
    return _class(name)(folder)


def start_script(name: str, folder: str) -> str:
    """Return the statements from nothing to the first logged value."""
    return str(_class(name).script.replace("FOLDER", repr(folder)))


def _class(name: str) -> Any:
    module, _, kind = TRACKERS[name].partition(":")
    return getattr(import_module(module), kind)
