from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import mlrun
from mlrun.errors import NotFound, QueryError, WhereError
from mlrun.execution.states import move
from mlrun.lookup.widen import RUN_COLUMNS
from mlrun.store import open_store


def make(name: str, *, project: str = "p", **logged: float) -> str:
    with mlrun.init(project=project, name=name, config={"lr": logged.pop("lr", 0.1)}) as run:
        if logged:
            run.log(logged)
    return run.id


def test_a_store_without_runs_answers_with_an_empty_frame_of_the_right_columns() -> None:
    frame = mlrun.runs()
    assert frame.height == 0
    assert tuple(frame.columns) == RUN_COLUMNS
    assert frame.schema["duration"] == pl.Duration("us")
    assert frame.schema["started_at"] == pl.Datetime("us", "UTC")
    assert frame.schema["tags"] == pl.List(pl.String)


def test_a_run_has_its_own_columns_then_params_results_and_metrics() -> None:
    with mlrun.init(
        project="p", name="a", config={"lr": 0.1, "net": {"width": 8}}, tags=["x", "a"]
    ) as run:
        run.log({"loss": 2.0})
        run.log({"loss": 1.0})
        run.log_result("score", 0.5)
    row = mlrun.runs("p").row(0, named=True)
    assert (row["run_id"], row["name"], row["state"], row["tags"]) == (
        run.id,
        "a",
        "completed",
        ["a", "x"],
    )
    assert (
        row["params.lr"],
        row["params.net.width"],
        row["results.score"],
        row["metrics.loss"],
    ) == (0.1, 8, 0.5, 1.0)
    assert isinstance(row["duration"], timedelta)


def test_live_and_finished_runs_are_found_alike() -> None:
    done = make("done", acc=0.9)
    live = mlrun.init(project="p", name="live", config={"lr": 0.1})
    live.log({"acc": 0.95})
    found = mlrun.runs("p", where="metrics.acc > 0.8 and params.lr = 0.1", order_by="-metrics.acc")
    assert found["run_id"].to_list() == [live.id, done]
    assert found["state"].to_list() == ["running", "completed"]
    live.finish()
    assert mlrun.runs("p", where="state = 'running'").height == 0


def test_another_process_sees_a_live_run() -> None:
    run = mlrun.init(project="p", name="live")
    run.log({"acc": 0.5}, step=3)
    code = "import mlrun; f = mlrun.runs('p'); print(f['state'][0], f['metrics.acc'][0])"
    env = {**os.environ, "PYTHONPATH": str(Path(mlrun.__file__).parents[1])}
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["running", "0.5"]
    run.finish()


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 10])
@pytest.mark.parametrize("offset", [0, 1, 4])
def test_limit_and_offset_cut_the_merged_order(limit: int | None, offset: int) -> None:
    stored = [make(f"s{i}", acc=i / 10) for i in (1, 5, 3)]
    live = mlrun.init(project="p", name="live")
    live.log({"acc": 0.4})
    order = [stored[1], live.id, stored[2], stored[0]]
    end = None if limit is None else offset + limit
    found = mlrun.runs("p", order_by="-metrics.acc", limit=limit, offset=offset)
    assert found["run_id"].to_list() == order[offset:end]
    live.finish()


def test_columns_choose_and_order_and_an_unknown_key_is_null() -> None:
    make("a", acc=0.5)
    frame = mlrun.runs(
        "p", columns=["metrics.acc.max", "name", "params.none", "metrics.none", "params.lr"]
    )
    assert frame.columns == ["metrics.acc.max", "name", "params.none", "metrics.none", "params.lr"]
    assert frame.rows() == [(0.5, "a", None, None, 0.1)]


def test_a_column_of_mixed_types_is_float_or_json_text() -> None:
    for value in (1, 2.5, True):
        mlrun.init(project="n", config={"a": value}).finish()
    for other in (1, "x", [1, 2], None):
        mlrun.init(project="m", config={"a": other}).finish()
    numbers = mlrun.runs("n", order_by="started_at")["params.a"]
    assert numbers.dtype == pl.Float64
    assert numbers.to_list() == [1.0, 2.5, 1.0]
    mixed = mlrun.runs("m", order_by="started_at")["params.a"]
    assert mixed.to_list() == ["1", '"x"', "[1, 2]", None] or mixed.to_list() == [
        "1",
        '"x"',
        "[1,2]",
        None,
    ]


def test_nan_and_infinity_come_back_from_params_and_metrics() -> None:
    with mlrun.init(project="p", config={"a": float("nan"), "b": float("-inf")}) as run:
        run.log({"loss": float("nan"), "up": float("inf")})
    row = mlrun.runs("p").row(0, named=True)
    assert row["params.a"] != row["params.a"]
    assert row["metrics.loss"] != row["metrics.loss"]
    assert (row["params.b"], row["metrics.up"]) == (float("-inf"), float("inf"))


def test_children_are_left_out_unless_asked_for() -> None:
    parent = make("parent")
    child = mlrun.init(project="p", name="child", parent=parent)
    child.finish()
    assert mlrun.runs("p")["name"].to_list() == ["parent"]
    assert set(mlrun.runs("p", children=True)["name"]) == {"parent", "child"}
    assert mlrun.runs("p", where=f"parent = '{parent}'")["name"].to_list() == ["child"]


def test_errors_point_at_the_place_and_suggest() -> None:
    with pytest.raises(WhereError, match="state"):
        mlrun.runs(where="stat = 'running'")
    with pytest.raises(QueryError, match="limit"):
        mlrun.runs(limit=-1)
    with pytest.raises(QueryError, match="run ids"):
        mlrun.params(7)


def test_params_are_long_and_typed() -> None:
    with mlrun.init(project="p", config={"a": 1, "b": "x", "c": [1], "d": None}) as run:
        pass
    frame = mlrun.params(run.id)
    assert frame.columns == ["run_id", "key", "value", "type"]
    assert [json.loads(v) for v in frame["value"]] == [1, "x", [1], None]
    assert frame["key"].to_list() == ["a", "b", "c", "d"]


def test_projects_count_their_runs() -> None:
    make("a", project="one")
    make("b", project="one")
    make("c", project="two")
    frame = mlrun.projects()
    assert frame.select("name", "runs", "running").rows() == [("one", 2, 0), ("two", 1, 0)]


def test_logs_hold_what_was_printed_live_and_absorbed(capsys: pytest.CaptureFixture[str]) -> None:
    run = mlrun.init(project="p", console=True)
    print("first line")
    print("second line", file=sys.stderr)
    run.flush()
    before = mlrun.logs(run.id)
    run.finish()
    mlrun.compact()
    after = mlrun.logs(run.id)
    for frame in (before, after):
        pairs = set(zip(frame["stream"], frame["line"], strict=True))
        assert {("stdout", "first line"), ("stderr", "second line")} <= pairs


def test_logs_are_cut_to_the_last_lines_and_by_time() -> None:
    run = mlrun.init(project="p", console=False)
    assert run.writer is not None
    at = 1_700_000_000_000_000
    run.writer.text(run.project, run.id, [(at + i, "stdout", f"line {i}") for i in range(10)])
    for absorbed in (False, True):
        if absorbed:
            run.finish()
            mlrun.compact()
        assert mlrun.logs(run.id, tail=2)["line"].to_list() == ["line 8", "line 9"]
        since = datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(microseconds=7)
        assert mlrun.logs(run.id, start=since)["line"].to_list() == ["line 7", "line 8", "line 9"]
        assert mlrun.logs(run.id, start=since, tail=1)["line"].to_list() == ["line 9"]
    with pytest.raises(QueryError, match="tail must be"):
        mlrun.logs(run.id, tail=-1)
    with pytest.raises(QueryError, match="start"):
        mlrun.logs(run.id, start="yesterday")  # type: ignore[arg-type]


def test_a_run_is_found_by_a_part_of_its_id_or_by_name() -> None:
    first = make("same")
    second = make("same")
    assert mlrun.get_run(first[-12:]).id == first
    assert mlrun.get_run("same").id == second
    with pytest.raises(NotFound, match="did you mean 'same'"):
        mlrun.get_run("sane")


def test_a_view_tells_what_the_run_holds() -> None:
    with mlrun.init(project="p", name="a", config={"lr": 0.1}, labels={"team": "cv"}) as run:
        run.log({"acc": 0.5})
        run.log_result("score", 7)
    view = mlrun.get_run(run.id)
    assert (view.name, view.project, view.state, view.error) == ("a", "p", "completed", None)
    assert (view.params, view.results, view.summary) == ({"lr": 0.1}, {"score": 7}, {"acc": 0.5})
    assert view.labels == {"team": "cv"}
    assert view.output("score") == 7
    with pytest.raises(NotFound, match="did you mean 'score'"):
        view.output("scores")
    assert view.metrics("acc")["value"].to_list() == [0.5]


def test_html_of_a_view_is_escaped() -> None:
    run_id = make("<script>alert(1)</script>")
    shown = mlrun.get_run(run_id)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_a_question_makes_no_store(tmp_path: Path) -> None:
    assert mlrun.runs().height == 0
    assert mlrun.metrics("nobody").height == 0
    assert mlrun.sql("select count(*) as n from runs")["n"].to_list() == [0]
    assert mlrun.sql("select count(*) as n from metrics")["n"].to_list() == [0]
    assert mlrun.projects().height == mlrun.artifacts().height == mlrun.logs("nobody").height == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match="no store in"):
        mlrun.runs(store=tmp_path / "typo")


def test_questions_follow_the_open_run_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mlrun.init(project="p", name="here")
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    run.log({"a": 1.0})
    assert mlrun.runs("p")["name"].to_list() == ["here"]
    assert mlrun.get_run(run.id).summary == {"a": 1.0}
    assert list(other.iterdir()) == []
    run.finish()


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user"
)
def test_a_store_of_another_user_is_refused_in_one_sentence() -> None:
    make("a")
    code = (
        "import os, mlrun\n"
        "from mlrun.errors import StoreError\n"
        "import sys; here = sys.argv[1]\n"
        "mlrun.init(store=here + '/other').finish()\n"
        "mlrun.runs(store=here + '/other')\n"  # everything is loaded while we may read it
        "os.chmod(here + '/.mlrun', 0o755); os.chdir('/')\n"
        "os.setuid(65534)\n"
        "try:\n    mlrun.runs(store=here + '/.mlrun')\nexcept StoreError as error:\n    print(error)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(mlrun.__file__).parents[1])}
    out = subprocess.run(
        [sys.executable, "-c", code, os.getcwd()],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot read the store" in out.stdout, out.stderr


@pytest.mark.parametrize("absorbed", [False, True])
def test_an_abort_stays_when_the_process_ends_after_it(absorbed: bool) -> None:
    store = open_store()
    run = mlrun.init(project="p", store=store, quiet=True, system_metrics=False)
    run.log({"loss": 1.0}, step=0)
    store.absorb_records_now()
    move(store, run.id, "aborted", error="enough")
    run.end("completed", settle=absorbed)
    found = mlrun.runs("p", columns=["state", "error"], store=store)
    assert found.rows() == [("aborted", "enough")]
