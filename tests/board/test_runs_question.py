from __future__ import annotations

import polars as pl
import pytest

import mlrun
from mlrun.app.board.runs_question import (
    Question,
    automatic,
    newest,
    readable,
    sample,
    titles,
    together,
)
from mlrun.errors import WhereError
from mlrun.store import open_store

QUOTED = 'it\'s "q"'


@pytest.fixture(autouse=True)
def runs() -> None:
    for i in range(5):
        with mlrun.init(project=QUOTED, name=f"r{i}", config={"lr": i, QUOTED: "x"}) as run:
            run.log({"val/acc": i / 10, "a.max": 1.0})
            run.log_result("score", i)
    with mlrun.init(project="other", config={"lr": "adaptive"}):
        pass


def question(**given: object) -> Question:
    usual = {"project": QUOTED, "columns": ("name", 'metrics."val/acc"'), "size": 2}
    return Question(**(usual | given))


def test_a_page_follows_the_one_before() -> None:
    store = open_store()
    pages = [question(page=p, order='metrics."val/acc"').rows(store) for p in (1, 2, 3)]
    assert [p["name"].to_list() for p in pages] == [["r0", "r1"], ["r2", "r3"], ["r4"]]
    assert set(pages[0].columns) == {"run_id", "name", "project", "state", "metrics.val/acc"}
    assert question().count(store, 10) == 5
    assert question().count(store, 3) == 3
    assert question(where='metrics."val/acc" > 0.25').everything(store).height == 2


def test_runs_are_asked_for_again_by_what_moves() -> None:
    store = open_store()
    asked = question(columns=("name", "params.lr", "results.score", 'metrics."val/acc"', "tags"))
    ids = asked.rows(store)["run_id"].to_list()
    found = asked.again(store, ids)
    assert set(found["run_id"]) == set(ids)
    assert set(found.columns) == {"run_id", "name", "state", "metrics.val/acc", "tags"}


def test_the_line_of_python_asks_the_same() -> None:
    asked = question(
        where="name = 'r3' or metrics.\"val/acc\" < 0.1", order="-params.lr", children=True
    )
    space: dict[str, object] = {}
    exec(asked.line().replace("mlrun.runs(", "found = mlrun.runs("), space)
    assert space["found"]["name"].to_list() == ["r3", "r0"]  # type: ignore[index]
    assert Question().line() == "import mlrun\n\nmlrun.runs()"


def test_a_filter_or_an_order_that_cannot_be_read_says_where() -> None:
    assert readable("", ["error"], "-started_at") == ("state = 'error'", "-started_at")
    with pytest.raises(WhereError) as wrong:
        readable("metrics.acc >", ["error"], "-started_at")
    assert wrong.value.text == "metrics.acc >"
    with pytest.raises(WhereError):
        readable("", [], "nonsense")


def test_columns_are_those_that_runs_have_and_those_of_the_address() -> None:
    store = open_store()
    sampled = newest(store, QUOTED)
    named = titles(sampled, ["params.more", "(((", "params.it is 'x'"])
    assert named["name"] == "name"
    assert named['metrics."val/acc"'] == "metrics.val/acc"
    assert named['metrics."a.max"'] == "metrics.a.max"
    assert named["params.more"] == "params.more"
    assert named["params.\"it is 'x'\""] == "params.it is 'x'"
    assert named['params."it\'s ""q"""'] == f"params.{QUOTED}"
    columns = mlrun.runs(columns=list(named), store=store).columns
    assert columns == list(named.values())


def test_what_is_shown_by_itself_fits_the_runs() -> None:
    found = automatic(newest(open_store(), QUOTED), QUOTED)
    assert found[:4] == ("name", "state", "started_at", "duration")
    assert found[-1] == "tags"
    assert {'metrics."val/acc"', "results.score", "params.lr"} <= set(found)
    assert "project" in automatic(newest(open_store(), ""), "")


def test_samples_of_other_types_go_together() -> None:
    store = open_store()
    meant = sample(store, question(where="params.lr > 1"))
    assert meant.height == 3
    both = together(newest(store, "other"), meant)
    assert both.height == 4
    assert both.schema["params.lr"] == pl.String
    assert together(meant, meant.clear()).equals(meant, null_equal=True)
