"""Workflows whose steps run on Ray."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ray")

import mlrun
from mlrun.errors import RunError
from mlrun.testing.raysession import ray_session
from mlrun.workflows.workflow import Plan, run_workflow

__all__ = ["ray_session"]

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


def make(context: Any) -> int:
    import polars as pl

    context.log_dataset("numbers", pl.DataFrame({"x": [1, 2, 3]}))
    return 10


def total(numbers: Any, factor: int) -> int:
    return factor * int(numbers.as_df()["x"].sum())


def meet(me: str, other: str, folder: str) -> None:
    import time
    from pathlib import Path

    Path(folder, me).touch()
    end = time.monotonic() + 120
    while not Path(folder, other).exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def boom() -> None:
    raise ValueError("boom")


def nap() -> None:
    import time

    time.sleep(600)


def states_of(view: Any) -> dict[str, str]:
    frame = mlrun.runs(where=f"parent = '{view.id}'", children=True)
    return dict(frame.select("name", "state").iter_rows())


def test_steps_hand_on_by_reference(ray_session: Any) -> None:
    def flow() -> Any:
        made = mlrun.run_function(make, returns=["factor"])
        summed = mlrun.run_function(
            total, params={"factor": made.outputs["factor"]},
            inputs={"numbers": made.outputs["numbers"]}, returns=["total"],
        )  # fmt: skip
        return {"total": summed.outputs["total"]}

    view = run_workflow(Plan(flow, "flow"), engine="ray")
    assert (view.state, view.results) == ("completed", {"total": 60})
    labels = mlrun.runs(where=f"parent = '{view.id}'", children=True)["labels"]
    assert all('"mlrun/executor": "ray"' in text for text in labels)


def test_branches_run_side_by_side(ray_session: Any, tmp_path: Any) -> None:
    def flow() -> None:
        for me, other in ("ab", "ba"):
            params = {"me": me, "other": other, "folder": str(tmp_path)}
            mlrun.run_function(meet, name=me, params=params)

    assert run_workflow(Plan(flow, "flow"), engine="ray").state == "completed"


def test_a_failed_step_skips_what_hangs_on_it_and_an_abort_ends_what_runs(ray_session: Any) -> None:
    def flow() -> None:
        bad = mlrun.run_function(boom)
        mlrun.run_function(make, name="after", after=bad)
        mlrun.run_function(make, name="free")

    with pytest.raises(RunError, match="boom") as caught:
        run_workflow(Plan(flow, "flow"), engine="ray")
    wanted = {"boom": "error", "after": "skipped", "free": "completed"}
    assert states_of(caught.value.run) == wanted

    def slow() -> None:
        mlrun.run_function(nap)

    with pytest.raises(RunError, match="time limit") as stopped:
        run_workflow(Plan(slow, "slow"), engine="ray", timeout=3)
    assert states_of(stopped.value.run) == {"nap": "aborted"}
