"""What a run is wherever it is performed: the same function gives the same run on every executor.

Part of `mlrun.testing.executors`, which is where to import the class from.
"""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mlrun.errors import RunError
from mlrun.testing import executor_calls as calls
from mlrun.testing.executor_values import Opened

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.functions.function import Function

__all__ = ["RunsConformance"]

_CODE = '''
import os, signal, time
import polars as pl

def train(context, lr: float, data: pl.DataFrame, how: str = "", path: str = ""):
    """Log three steps, then end as `how` says."""
    print("learning rate", lr, flush=True)
    for step in range(3):
        context.log({"loss": lr / (step + 1)}, step=step)
    context.log_result("rows", data.height)
    if how == "raise":
        raise ValueError("as asked")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "sleep":
        from mlrun.testing.executor_calls import sleep_while_ticking
        sleep_while_ticking(path)
    return lr * 2, data.select(pl.col("x") * 2)
'''


class RunsConformance(Opened):
    """One function, performed where the executor performs it."""

    patience: ClassVar[float] = 120.0

    @pytest.fixture
    def function(self, tmp_path: Path) -> Function:
        """Return a function of a file."""
        from mlrun.functions.making import code_to_function

        path = tmp_path / "trainer.py"
        path.write_text(_CODE)
        (tmp_path / "data.csv").write_text("x\n1\n2\n3\n")
        return code_to_function(name="trainer", filename=str(path), handler="train", project="p")

    def _run(self, function: Function, executor: Any, **more: Any) -> Any:
        params = {"lr": 0.5, **more.pop("params", {})}
        asked = {"returns": ["twice", "doubled:dataset"], "inputs": {"data": "data.csv"}, **more}
        return function.run(params=params, executor=executor, **asked)

    def test_it_gives_what_it_gives_in_this_process(self, executor: Any, function: Any) -> None:
        here = self._run(function, "local")
        there = self._run(function, executor)
        assert there.state == here.state == "completed"
        assert there.results == here.results == {"rows": 3, "twice": 1.0}
        assert there.params == here.params
        assert there.outputs.keys() == here.outputs.keys()
        assert there.artifact("doubled").as_df()["x"].to_list() == [2, 4, 6]
        columns = ["key", "step", "value"]
        assert there.metrics().select(columns).equals(here.metrics().select(columns))
        assert "learning rate 0.5" in there.logs()["line"].to_list()

    def test_an_error_is_the_runs_error(self, executor: Any, function: Any) -> None:
        with pytest.raises(RunError, match="as asked") as raised:
            self._run(function, executor, params={"how": "raise"})
        view: Any = raised.value.run
        assert view.state == "error"
        assert view.results == {"rows": 3}

    def test_a_killed_worker_loses_nothing_that_was_logged(
        self, executor: Any, function: Any
    ) -> None:
        with pytest.raises(RunError) as raised:
            self._run(function, executor, params={"how": "die"})
        view: Any = raised.value.run
        assert view.state in ("error", "lost")
        assert view.metrics("loss")["value"].to_list() == [0.5, 0.25, 0.5 / 3]
        assert view.results == {"rows": 3}

    def test_abort_ends_it(self, executor: Any, function: Any, tmp_path: Path) -> None:
        path = tmp_path / "ticks"
        view = self._run(
            function, executor, watch=False, params={"how": "sleep", "path": str(path)}
        )
        end = time.monotonic() + self.patience
        while calls.ticks(path) < 3:
            assert time.monotonic() < end, view.state
            time.sleep(0.05)
        view.abort()
        view.wait_for_completion(self.patience)
        assert view.state == "aborted"
        time.sleep(1)  # the run has ended a moment before its process
        reached = calls.ticks(path)
        time.sleep(0.3)
        assert calls.ticks(path) == reached
        assert view.metrics("loss").height == 3
