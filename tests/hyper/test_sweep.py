"""Hyperparameter jobs: values of the orchestrator 1.12.1 where it has them, and our own promises."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

import mlrun
from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.view import RunView

    Start = Callable[..., RunView]


def reference(context: Any, p1: int, p2: int) -> None:
    """The handler whose table was recorded with the reference."""
    context.log_result("acc", p1 * p2 if p2 == 3 else p1 * 4)
    context.log_result("loss", -p1)


GRID = {"p1": [1, 2], "p2": [3, 4]}


# -- what the reference does ----------------------------------------------------------------------


def test_the_iteration_table_is_the_references(sweep: Start) -> None:
    view = sweep(reference, GRID, selector="max.acc")
    table = view.iterations
    assert table.columns == ["state", "iter", "param.p1", "param.p2", "output.acc", "output.loss"]
    assert table.rows() == [
        ("completed", 1, 1, 3, 3, -1),
        ("completed", 2, 2, 3, 6, -2),
        ("completed", 3, 1, 4, 4, -1),
        ("completed", 4, 2, 4, 8, -2),
    ]
    assert view.results == {"best_iteration": 4, "acc": 8, "loss": -2}
    assert view.state == "completed"


def test_params_of_the_job_stand_before_those_that_vary(sweep: Start) -> None:
    def handler(context: Any, base: int, x: int) -> int:
        return base + x

    view = sweep(handler, {"x": [1, 2]}, params={"base": 10}, selector="return")
    assert view.iterations.columns == ["state", "iter", "param.base", "param.x", "output.return"]
    assert view.iterations["output.return"].to_list() == [11, 12]
    assert view.params == {"base": 10}


def test_of_equal_iterations_the_first_is_the_best(sweep: Start) -> None:
    def handler(x: int) -> int:
        return [5, 7, 7, 5][x]

    assert sweep(handler, {"x": [0, 1, 2, 3]}, selector="return").results["best_iteration"] == 2
    assert sweep(handler, {"x": [0, 1, 2, 3]}, selector="min.return").results == {
        "best_iteration": 1,
        "return": 5,
    }


def test_text_that_is_a_number_counts_and_other_text_is_passed_over(sweep: Start) -> None:
    def handler(x: Any) -> Any:
        return x

    view = sweep(handler, {"x": ["3", "many", "11"]}, selector="max.return")
    assert view.results == {"best_iteration": 3, "return": "11"}


def test_a_failed_iteration_is_never_the_best_and_makes_the_job_an_error(failed: Start) -> None:
    def handler(context: Any, x: int) -> None:
        context.log_result("acc", x)
        if x == 3:
            raise ValueError("three is too many")

    view = failed(handler, {"x": [1, 3, 2]}, selector="max.acc")
    assert view.state == "error"
    assert view.error is not None
    assert view.error.startswith("1 of 3 tasks failed")
    assert view.results == {"best_iteration": 3, "acc": 2}
    assert view.iterations.select("state", "iter").rows() == [
        ("completed", 1),
        ("error", 2),
        ("completed", 3),
    ]
    [child] = mlrun.runs(where=f"parent = '{view.id}' and state = 'error'").to_dicts()
    assert "three is too many" in child["error"]
    assert child["iteration"] == 2


@pytest.mark.parametrize(("most", "ran"), [(0, 1), (3, 4)])
def test_one_error_more_than_max_errors_stops_the_job(most: int, ran: int, failed: Start) -> None:
    def handler(x: int) -> None:
        raise ValueError(x)

    view = failed(handler, {"x": list(range(9))}, max_errors=most)
    assert view.iterations.height == ran
    assert view.provenance["hyper"]["stopped"] == f"{ran} iterations failed"


def test_a_list_zips_and_a_random_job_draws_ten(sweep: Start) -> None:
    def handler(a: int, b: int) -> int:
        return a * b

    zipped = sweep(handler, {"a": [1, 2], "b": [3, 4]}, strategy="list").iterations
    assert zipped["output.return"].to_list() == [3, 8]
    drawn = sweep(handler, {"a": [1, 2], "b": [3, 4]}, strategy="random").iterations
    assert drawn.height == 10


def test_a_seed_makes_a_random_job_repeatable_and_without_one_it_is_recorded(sweep: Start) -> None:
    def handler(x: int) -> int:
        return x

    def params(view: RunView) -> list[int]:
        return view.iterations["param.x"].to_list()

    asked: dict[str, Any] = {"strategy": "random", "max_iterations": 20}
    values = {"x": list(range(1000))}
    first = sweep(handler, values, seed=7, **asked)
    assert params(first) == params(sweep(handler, values, seed=7, **asked))
    free = sweep(handler, values, **asked)
    seed = free.provenance["hyper"]["seed"]
    assert params(free) == params(sweep(handler, values, seed=seed, **asked))


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.csv", "x,word\n1,a\n2,b\n"), ("p.json", json.dumps({"x": [1, 2], "word": ["a", "b"]}))],
)
def test_hyperparams_come_from_a_file(name: str, text: str, sweep: Start, tmp_path: Path) -> None:
    def handler(x: int, word: str) -> str:
        return word * x

    (tmp_path / name).write_text(text)
    view = sweep(handler, param_file=str(tmp_path / name))
    wanted = ["a", "bb"] if name.endswith(".csv") else ["a", "aa", "b", "bb"]
    assert view.iterations["output.return"].to_list() == wanted


@pytest.mark.parametrize(
    ("hyperparams", "options", "said"),
    [
        ({"x": [1]}, {"param_file": "p.csv"}, "not both"),
        (None, {"param_file": "p.csv", "strategy": "grid"}, "strategy 'list'"),
        ({"x": [1], "y": [1, 2]}, {"strategy": "list"}, "one length"),
        ({"x": [1]}, {"max_iterations": 3}, "random and tune"),
        ({"x": [1]}, {"selector": "mean.acc"}, "illegal iteration selector"),
        ({"x": [1]}, {"stop_condition": "__import__('os')"}, "not allowed"),
        ({"x": [1]}, {"strategy": "gird"}, "did you mean 'grid'"),
        ({"x": 1}, {}, "is a list"),
        ({}, {"strategy": "grid"}, "needs hyperparams"),
    ],
)
@pytest.mark.parametrize("watch", [True, False])
def test_what_has_no_meaning_is_refused_before_anything_is_stored(
    hyperparams: Any, options: dict[str, Any], said: str, watch: bool, sweep: Start, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_text("x\n1\n")
    with pytest.raises(ConfigError, match=said):
        sweep(reference, hyperparams, watch=watch, **options)
    assert mlrun.runs(children=True).is_empty()


# -- what an iteration is -------------------------------------------------------------------------


def test_every_iteration_is_a_child_run_with_its_own_metrics_console_and_labels(
    sweep: Start,
) -> None:
    def handler(context: Any, x: int) -> None:
        print(f"trying {x}")
        context.set_label("tried", x)
        for step in range(3):
            context.log({"loss": x * 10 + step})

    view = sweep(handler, {"x": [1, 2]}, labels={"team": "cv"}, tags=["night"], selector="min.loss")
    children = mlrun.runs(where=f"parent = '{view.id}'", order_by="iteration")
    assert children["iteration"].to_list() == [1, 2]
    assert [json.loads(text)["tried"] for text in children["labels"]] == [1, 2]
    assert {json.loads(text)["team"] for text in children["labels"]} == {"cv"}
    assert mlrun.runs(where="'night' in tags").height == 1
    second = children["run_id"][1]
    assert mlrun.metrics(second)["value"].to_list() == [20.0, 21.0, 22.0]
    assert mlrun.logs(second)["line"].to_list() == ["trying 2"]
    assert mlrun.logs(view.id).is_empty()
    assert mlrun.runs("p").height == 1


def test_the_last_value_of_a_metric_decides_where_there_is_no_result(sweep: Start) -> None:
    def handler(context: Any, x: int) -> None:
        context.log({"val": {"acc": 99}}, step=0)
        context.log({"val/acc": x, "other": 1}, step=2)
        context.log({"val/acc": 98}, step=1)  # an earlier step: not the last value

    view = sweep(handler, {"x": [1, 3, 2]}, selector="max.val/acc")
    assert view.results == {"best_iteration": 2, "val/acc": 3.0}
    assert view.iterations["output.val/acc"].to_list() == [1.0, 3.0, 2.0]


def test_the_best_iterations_artifacts_are_the_parents_too(sweep: Start) -> None:
    def handler(context: Any, x: int) -> tuple[int, pl.DataFrame]:
        context.log_artifact("note.txt", body=f"x = {x}".encode())
        return x, pl.DataFrame({"x": [x]})

    view = sweep(handler, {"x": [1, 3, 2]}, returns=["score", "table"], selector="max.score")
    assert view.results == {"best_iteration": 2, "score": 3}
    assert view.artifact("table").as_df()["x"].to_list() == [3]
    assert view.artifact("note.txt").get() == b"x = 3"
    [best] = mlrun.runs(where=f"parent = '{view.id}' and iteration = 2")["run_id"]
    assert view.outputs["table"] == mlrun.get_run(best).outputs["table"]


def test_the_table_and_its_picture_are_artifacts_of_the_parent(sweep: Start) -> None:
    view = sweep(reference, GRID, selector="max.acc")
    assert view.artifact("iteration_results").as_df().rows() == view.iterations.rows()
    picture = json.loads(view.artifact("parallel_coordinates").get())
    [data] = picture["data"]
    assert data["type"] == "parcoords"
    assert [d["label"] for d in data["dimensions"]] == ["p1", "p2", "acc", "loss"]
    assert data["line"]["color"] == [3, 6, 4, 8]


def test_nested_params_are_flat_in_every_table(sweep: Start) -> None:
    def handler(model: dict[str, int]) -> int:
        return model["depth"] * model["width"]

    values = [{"depth": 2, "width": 3}, {"depth": 4, "width": 5}]
    view = sweep(handler, {"model": values}, selector="return")
    wanted = ["state", "iter", "param.model.depth", "param.model.width", "output.return"]
    assert view.iterations.columns == wanted
    assert view.artifact("iteration_results").as_df().columns == wanted
    assert view.results["best_iteration"] == 2


def test_inputs_in_memory_reach_every_iteration(sweep: Start) -> None:
    def handler(data: pl.DataFrame, x: int) -> int:
        return int(data["v"].sum()) * x

    frame = pl.DataFrame({"v": [1, 2, 3]})
    for options in ({}, {"parallel_runs": 2}):
        view = sweep(
            handler, {"x": [1, 2, 3]}, inputs={"data": frame}, selector="return", **options
        )
        assert view.results == {"best_iteration": 3, "return": 18}


def test_a_failed_iteration_is_tried_again_where_that_was_asked_for(sweep: Start) -> None:
    def handler(context: Any, x: int) -> int:
        context.log({"seen": x})
        if x == 2 and context.labels.get("mlrun/retry-attempt", 0) < 1:
            raise ValueError("not yet")
        return x

    retry = {"count": 2, "backoff": 0}
    view = sweep(handler, {"x": [1, 2, 3]}, retry=retry, selector="max.seen")
    assert view.iterations["state"].to_list() == ["completed"] * 3
    assert view.results["best_iteration"] == 3
    [second] = mlrun.runs(where=f"parent = '{view.id}' and iteration = 2")["run_id"]
    assert mlrun.runs(where=f"parent = '{second}'", order_by="started_at")["state"].to_list() == [
        "error",
        "completed",
    ]


def test_a_time_limit_is_each_iterations(sweep: Start) -> None:
    def handler(x: int) -> int:
        import time

        time.sleep(30 if x == 2 else 0)
        return x

    view = sweep(handler, {"x": [1, 2, 3]}, time_limit=0.5, selector="return")
    assert view.iterations["state"].to_list() == ["completed", "aborted", "completed"]
    assert view.results["best_iteration"] == 3


# -- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition", ["acc >= 6", 'metrics["m"] > 5', "acc > 5 and params['x'] == 6"]
)
def test_in_sequence_a_stop_condition_stops_right_after_the_iteration_that_meets_it(
    condition: str, sweep: Start
) -> None:
    def handler(context: Any, x: int) -> None:
        context.log({"m": x})
        context.log_result("acc", x)

    view = sweep(handler, {"x": list(range(1, 20))}, stop_condition=condition, selector="acc")
    assert view.iterations["iter"].to_list() == [1, 2, 3, 4, 5, 6]
    assert view.state == "completed"
    assert view.results == {"best_iteration": 6, "acc": 6}
    assert view.provenance["hyper"]["stopped"] == "stop_condition at iteration 6"


def test_in_parallel_only_what_was_in_flight_runs_after_a_stop(sweep: Start) -> None:
    def handler(x: int) -> int:
        import time

        time.sleep(0.2)  # too slow to be sent in batches
        return x

    view = sweep(
        handler, {"x": list(range(40))}, stop_condition="results['return'] == 3", parallel_runs=2
    )
    done = view.iterations["iter"].to_list()
    assert {1, 2, 3, 4} <= set(done)
    assert len(done) <= 4 + 4  # two at once, two trials a batch at most while they take 0.2 s each


# -- many -----------------------------------------------------------------------------------------


def check_a_thousand(view: RunView) -> None:
    assert view.state == "completed"
    assert view.iterations["iter"].to_list() == list(range(1, 1001))
    where = f"parent = '{view.id}'"
    children = mlrun.runs(where=where, order_by="iteration")
    assert children.height == 1000
    assert set(children["state"]) == {"completed"}
    for number in range(5):
        assert children[f"metrics.m{number}"].to_list() == [
            float(a + 10 * b + number) for b in range(100) for a in range(10)
        ]
    points = mlrun.metrics(children["run_id"].to_list())
    assert points.height == 5000
    assert points["run_id"].n_unique() == 1000
    assert mlrun.runs(where=f"{where} and metrics.m0 > 500 and params.a = 3").height == 50
    assert view.results["best_iteration"] == 1000


def five(context: Any, a: int, b: int) -> None:
    context.log({f"m{number}": a + 10 * b + number for number in range(5)})


THOUSAND = {"a": list(range(10)), "b": list(range(100))}


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_grid_of_a_thousand_with_five_metrics_each_lands_whole(
    parallel: int | None, sweep: Start
) -> None:
    check_a_thousand(sweep(five, THOUSAND, selector="max.m4", parallel_runs=parallel))


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_grid_of_a_thousand_lands_whole_from_ray(sweep: Start, ray_session: Any) -> None:
    check_a_thousand(sweep(five, THOUSAND, selector="max.m4", executor=ray_session))


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_ray_shares_an_input_table_with_all_iterations(sweep: Start, ray_session: Any) -> None:
    def handler(data: pa.Table, x: int) -> int:
        return int(data.num_rows) * x

    table = pa.table({"v": pa.array(range(1_000_000))})
    view = sweep(
        handler, {"x": [1, 2, 3]}, inputs={"data": table}, executor=ray_session, selector="return"
    )
    assert view.results == {"best_iteration": 3, "return": 3_000_000}


# -- beside the caller ----------------------------------------------------------------------------


def test_a_job_beside_the_caller_can_be_waited_for(sweep: Start) -> None:
    view = sweep(reference, GRID, selector="max.acc", watch=False)
    assert view.wait_for_completion(60).state == "completed"
    assert view.results["best_iteration"] == 4
    assert view.iterations.height == 4


def test_options_may_be_a_dict_and_unknown_ones_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'selector'"):
        mlrun.HyperParamOptions.of({"selecter": "acc"})
