from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

import mlrun
from mlrun.app.board.sweeps_jobs import best_so_far, job, jobs
from mlrun.app.board.sweeps_progress import kinds_of
from mlrun.store import open_store

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


def _swept(name: str = "train", selector: str | None = "max.score") -> RunView:
    def train(context: Any, lr: float, depth: int) -> None:
        if lr == 3:
            raise ValueError(HOSTILE)
        context.log({"loss": lr * depth})
        context.log_result("score", depth - lr)
        context.log_result(HOSTILE, HOSTILE)

    fn = mlrun.new_function(name, handler=train, project="digits")
    return fn.run(
        hyperparams={"lr": [1, 2, 3], "depth": [2, 4]},
        hyper_param_options=mlrun.HyperParamOptions(selector=selector),
        local=True,
        watch=False,
    ).wait_for_completion()


def test_without_sweeps_the_page_says_how_to_make_one(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="digits") as run:
        run.log({"loss": 1})
    page = opened("sweeps")
    assert not page.exception
    assert "hyperparams" in page.code[0].value
    page = opened("sweeps", id=run.id)
    assert not page.exception
    assert "no trials" in page.info[0].value
    assert "Nothing of that name" in shown(opened("sweeps", id="no'such"))


def test_a_sweep_is_listed_and_its_trials_are_shown(opened: Callable[..., Any]) -> None:
    view = _swept()
    page = opened("sweeps")
    assert not page.exception
    listed = page.dataframe[0].value
    assert listed["trials"].to_list() == [6]
    assert listed["failed"].to_list() == [2]
    page = opened("sweeps", id=view.id)
    assert not page.exception
    assert "score = 3" in shown(page)
    assert "6 of 6 trials, 4 completed, 2 failed" in shown(page).replace("\\", "")
    trials = page.dataframe[0].value
    assert trials["state"].to_list().count("failed") == 2
    assert trials["param.lr"].to_list() == [1, 2, 3, 1, 2, 3]
    assert len(page.get("vega_lite_chart")) == 3
    page.button(key="_best").click().run()
    assert page.session_state["_went"][0] == "run"
    best = mlrun.get_run(page.session_state["_went"][1]["id"])
    assert best.params == {"lr": 1, "depth": 4}


def test_a_sweep_without_a_goal_is_shown_too(opened: Callable[..., Any]) -> None:
    def nothing(x: int) -> None:
        del x

    fn = mlrun.new_function("nothing", handler=nothing, project="digits")
    view = fn.run(hyperparams={"x": [1, 2]}, local=True)
    page = opened("sweeps", id=view.id)
    assert not page.exception
    assert "selector" in page.info[0].value
    assert page.dataframe[0].value["param.x"].to_list() == [1, 2]


def test_the_best_so_far_is_of_completed_trials_and_the_first_of_equal_ones() -> None:
    table = pl.DataFrame({
        "iter": [3, 1, 2, 4, 5, 6],
        "state": ["completed", "completed", "error", "completed", "running", "completed"],
        "output.s": [2.0, 1.0, 9.0, 2.0, None, float("nan")],
    })  # fmt: skip
    found = best_so_far(table, "output.s", "max")
    assert found["iter"].to_list() == [1, 2, 3, 4]
    assert found["best"].to_list() == [1, 1, 2, 2]
    assert found["is_best"].to_list() == [True, False, True, False]
    assert best_so_far(table, "output.s", "min")["best"].to_list() == [1, 1, 1, 1]


def test_jobs_are_found_by_project_and_stopped_trials_are_told_apart() -> None:
    view = _swept(selector="min.loss")
    store = open_store()
    assert jobs(store, "digits")["run_id"].to_list() == [view.id]
    assert jobs(store, "elsewhere").is_empty()
    first = mlrun.runs(where=f"parent = '{view.id}'", columns=["run_id", "iteration"])
    one = first.filter(pl.col("iteration") == 2)["run_id"][0]
    mlrun.get_run(one).update(labels={"mlrun/stopped-by": "asha"})
    found = job(store, view.id)
    assert (found.goal, found.way) == ("output.loss", "min")
    assert found.best is not None
    assert found.best["iter"] == 1
    assert found.table["stopped"].to_list()[:3] == [None, "asha", None]
    assert kinds_of(["aborted", "lost", "running", "created"], ["asha", None, None, None]) == [
        "stopped early", "failed", "running", "other",
    ]  # fmt: skip
