from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

import mlrun
from mlrun.app.board.sql_answer import ROWS, as_csv, as_parquet, ask, bounded, python_line
from mlrun.app.board.sql_figure import choices, figure
from mlrun.app.board.sql_schema import EXAMPLES, columns_of, tables_for
from mlrun.errors import SQLError
from mlrun.store import open_store


@pytest.fixture
def store() -> Any:
    with mlrun.init(project="digits", config={"lr": 0.1}, tags=["a"]) as run:
        run.log({"acc": 0.5, "loss": 1.0})
        run.log_result("score", 1)
        run.log_artifact("note", body="text")
    return open_store()


def test_the_schema_names_the_columns_that_a_query_finds(store: Any) -> None:
    for table in tables_for(admin=True):
        told = columns_of(table)["column"].to_list()
        found = mlrun.sql(f"select * from {table} limit 1", store=store).columns
        if table == "runs_wide":
            told = [c for c in told if not c.endswith("…")]
            found = [c for c in found if "." not in c]
        assert sorted(told) == sorted(found), table


def test_only_admins_are_told_of_the_audit_log() -> None:
    assert "audit" in tables_for(admin=True)
    assert "audit" not in tables_for(admin=False)


def test_every_example_can_be_answered(store: Any) -> None:
    for query in EXAMPLES.values():
        assert not ask(store, query).error


@pytest.mark.parametrize(
    ("query", "grows"),
    [
        ("select name from runs", True),
        ("select name from runs order by name;  ", True),
        ("select name from runs -- all of them", True),
        ("select name from runs limit 5", False),
        ("select state, count(*) from runs group by 1", False),
        ("select state, count(*) from runs group by 1 order by 2", True),
        ("select distinct state from runs", False),
        ("select name from runs union all select key from params", False),
    ],
)
def test_a_query_without_a_limit_fetches_one_row_more_than_is_shown(
    store: Any, query: str, grows: bool
) -> None:
    asked = bounded(query)
    assert asked.endswith(f"\nlimit {ROWS + 1}") if grows else asked == query
    assert mlrun.sql(asked, store=store).equals(mlrun.sql(query, store=store))


def test_what_is_wrong_with_a_query_is_told_in_its_answer(store: Any) -> None:
    assert "nmae" in ask(store, "select nmae from runs").error
    assert ask(store, "drop table runs").error
    with pytest.raises(SQLError):
        bounded("drop table runs")


def test_a_download_holds_lists_and_durations() -> None:
    frame = pl.DataFrame({"tags": [["a", "ü"], None], "took": [timedelta(seconds=1.5), None]})
    assert as_csv(frame).decode().splitlines() == ["tags,took", '"[""a"", ""ü""]",1.5', ","]
    assert pl.read_parquet(io.BytesIO(as_parquet(frame))).equals(frame)


@pytest.mark.parametrize("query", ["select 1", 'a\n"""b', "a\nb\\n", "select *\nfrom runs", 'a\n"'])
def test_the_python_line_means_the_query(query: str) -> None:
    import ast

    call: Any = ast.parse(python_line(query)).body[-1]
    assert ast.literal_eval(call.value.args[0]) == query


def test_a_chart_draws_columns_of_any_name_in_fields_of_its_own() -> None:
    frame = pl.DataFrame(
        {"a.b[0]": [1, 2], "y": [0.5, 1.0], "who": ["x", None], "tags": [["t"], []]}
    )
    along, up, colors = choices(frame)
    assert along == ["a.b[0]", "y", "who"]
    assert up == ["a.b[0]", "y"]
    assert colors == ["a.b[0]", "who"]
    drawn, spec = figure(frame, "bar", "who", "a.b[0]", "who")
    assert drawn.columns == ["x", "y", "series"]
    assert drawn["series"].to_list() == ["x", "none"]
    assert spec["encoding"]["y"]["axis"]["title"] == "a.b[0]"
    assert spec["encoding"]["x"]["type"] == "nominal"


def test_a_chart_of_too_many_series_gathers_the_rare_ones() -> None:
    frame = pl.DataFrame({"x": range(100), "y": range(100), "who": [str(i) for i in range(100)]})
    drawn, _ = figure(frame, "line", "x", "y", "who")
    assert drawn["series"].n_unique() == 40
