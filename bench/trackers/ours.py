"""mlrun, driven like its peers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUIET", "Ours"]

QUIET: dict[str, Any] = {"console": False, "system_metrics": False, "git": False}


class Ours:
    """The public face, with its defaults except for captures: no peer captures either."""

    script = """
import mlrun
run = mlrun.init(project="bench", store=FOLDER)
run.log({"loss": 0.3}, step=0)
"""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.run_id = ""
        self.log: Any = None

    def start(self) -> None:
        import mlrun

        self._run = mlrun.init(project="bench", store=self.folder, **QUIET)
        self.run_id, self.log = self._run.id, self._run.log

    def flush(self) -> None:
        pass  # what `log` returned from is visible

    def finish(self) -> None:
        self._run.finish()

    def points(self) -> int:
        import mlrun

        return int(mlrun.sql("select count(*) from metrics", store=self.folder).item())

    def latest(self, run_id: str) -> Callable[[], float | None]:
        import mlrun

        after = -1

        def ask() -> float | None:
            nonlocal after
            found = mlrun.metrics(run_id, keys=["x"], start=after + 1, store=self.folder)
            if not found.height:
                return None
            after = int(found["step"][-1])
            return float(found["value"][-1])

        return ask
