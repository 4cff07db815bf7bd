"""Iterations that a handler opens by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

    Start = Callable[..., RunView]


def halving(context: Any, start: int) -> None:
    value = start
    while value > 1:
        with context.get_child_context(x=value) as child:
            child.log({"cost": value})
            child.log_result("score", -abs(value - 4))
            child.log_artifact("note.txt", body=f"{value}".encode())
        value //= 2


@pytest.mark.parametrize("where", [{"local": True}, {"local": True, "watch": False}])
def test_a_handler_may_open_its_iterations_by_itself(where: dict[str, Any], sweep: Start) -> None:
    view = sweep(halving, strategy="custom", selector="max.score", params={"start": 16}, **where)
    view.wait_for_completion(60)
    assert view.state == "completed"
    assert view.results == {"best_iteration": 3, "score": 0}
    assert view.iterations.rows() == [
        ("completed", 1, 16, -12),
        ("completed", 2, 8, -4),
        ("completed", 3, 4, 0),
        ("completed", 4, 2, -2),
    ]
    assert view.iterations.columns == ["state", "iter", "param.x", "output.score"]
    assert view.artifact("note.txt").get() == b"4"
    assert view.artifact("iteration_results").as_df().rows() == view.iterations.rows()
    found = mlrun.runs(where=f"parent = '{view.id}' and metrics.cost = 8")
    assert found["iteration"].to_list() == [2]


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_so_it_may_on_ray(sweep: Start, ray_session: Any) -> None:
    asked: dict[str, Any] = {"strategy": "custom", "selector": "min.cost", "params": {"start": 8}}
    view = sweep(halving, executor=ray_session, **asked)
    assert view.results == {"best_iteration": 3, "score": -2, "cost": 2.0}


def test_an_iteration_can_be_marked_as_the_best(sweep: Start) -> None:
    def handler(context: Any) -> None:
        for x in (1, 5, 3):
            with context.get_child_context(with_parent_params=True, x=x) as child:
                child.log_result("score", x)
                if x == 3:
                    child.mark_as_best()

    view = sweep(handler, params={"base": 2})
    assert view.results == {"best_iteration": 3, "score": 3}
    assert view.iterations.columns == ["state", "iter", "param.base", "param.x", "output.score"]


def test_an_iteration_that_fails_is_the_handlers_to_bear(sweep: Start) -> None:
    def handler(context: Any) -> None:
        for x in (1, 2, 3):
            try:
                with context.get_child_context(x=x) as child:
                    child.log_result("score", x)
                    if x == 3:
                        raise ValueError("three")
            except ValueError:
                pass

    view = sweep(handler, strategy="custom", selector="score")
    assert view.state == "completed"
    assert view.iterations["state"].to_list() == ["completed", "completed", "error"]
    assert view.results == {"best_iteration": 2, "score": 2}


def test_iterations_of_a_run_that_init_opened_are_summed_up_on_request() -> None:
    with mlrun.init(project="p") as run:
        for x in (1, 2):
            with run.get_child_context(x=x) as child:
                child.log_result("score", x)
                assert mlrun.current_run() is child
                if x == 2:
                    child.mark_as_best()
        assert run.update_child_iterations() == 2
    view = mlrun.get_run(run.id)
    assert view.results == {"best_iteration": 2, "score": 2}
    assert view.iterations.height == 2
