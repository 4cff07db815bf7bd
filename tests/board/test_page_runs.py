from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlrun
from mlrun.app.board import runs_question, session
from mlrun.savedviews import saved_views
from mlrun.store import open_store

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from streamlit.testing.v1 import AppTest

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


def logged(count: int = 3, project: str = "digits") -> list[str]:
    ids = []
    for i in range(count):
        with mlrun.init(project=project, name=f"r{i}", config={"lr": i / 10}, tags=["a"]) as run:
            for value in (1.0, 0.5):
                run.log({"loss": value + i})
        ids.append(run.id)
    return ids


def names(page: AppTest) -> list[str]:
    return list(page.dataframe[0].value["name"])


def pick(page: AppTest, *rows: int, cells: tuple[tuple[int, str], ...] = ()) -> AppTest:
    """Tick rows, or click cells, of the table."""
    (key,) = [k for k in page.session_state._state.filtered_state if str(k).startswith("_table_")]
    page.session_state[key] = {
        "selection": {"rows": list(rows), "columns": [], "cells": list(cells)}
    }
    return page.run()


def test_without_runs_the_page_says_how_to_log_one(opened: Callable[..., Any]) -> None:
    assert "mlrun.init" in opened("runs").code[0].value


def test_a_filter_narrows_and_a_wrong_one_says_where_while_rows_stay(
    opened: Callable[..., Any],
) -> None:
    logged()
    page = opened("runs", where="metrics.loss > 1", project="digits")
    assert not page.exception
    assert names(page) == ["r2", "r1"]
    assert page.dataframe[0].value["curve"].map(list).to_list() == [[3.0, 2.5], [2.0, 1.5]]
    page.text_input(key="where").set_value("metrics.loss >").run()
    (said,) = [c.value for c in page.code if "^" in c.value]
    assert "the expression ends too early\n  metrics.loss >\n" in said
    assert names(page) == ["r2", "r1"]
    page.text_input(key="where").set_value("name = 'nobody'").run()
    assert "No run matches" in shown(page)
    page.button(key="_clear").click().run()
    assert names(page) == ["r2", "r1", "r0"]


def test_the_address_holds_order_columns_states_and_page(opened: Callable[..., Any]) -> None:
    logged(30)
    page = opened(
        "runs", order="params.lr", cols=["name", "params.lr", "metrics.loss"], size="25", page="2",
        state="completed", curve="none",
    )  # fmt: skip
    assert not page.exception
    table = page.dataframe[0].value
    assert list(table.columns) == ["name", "params.lr", "metrics.loss"]
    assert names(page) == [f"r{i}" for i in range(25, 30)]
    assert "order_by='params.lr'" in "".join(c.value for c in page.code)
    page.selectbox(key="_by").set_value("name").run()
    assert page.query_params["order"] == "name"
    assert names(page)[:2] == ["r0", "r1"]
    page = opened("runs", state="error")
    assert "No run matches" in shown(page)


def test_a_clause_that_is_picked_is_added_to_the_filter(opened: Callable[..., Any]) -> None:
    logged()
    page = opened("runs", where="params.lr < 0.15 or params.lr > 5")
    page.selectbox(key="_column").set_value("name").run()
    page.selectbox(key="_value").set_value("r1").run()
    page.button(key="_add").click().run()
    assert not page.exception
    wanted = "(params.lr < 0.15 or params.lr > 5) and name = 'r1'"
    assert page.text_input(key="where").value == wanted
    assert names(page) == ["r1"]
    page.selectbox(key="_column").set_value("tags").run()
    assert page.selectbox(key="_operator_True").options == ["has", "has not"]
    assert page.selectbox(key="_value").options == ["a"]


def test_runs_that_are_picked_are_tagged_archived_and_deleted(opened: Callable[..., Any]) -> None:
    ids = logged()
    page = opened("runs", project="digits")
    assert page.button(key="_archive").disabled
    pick(page, 0, 1)
    page.multiselect(key="_tags").set_value(["a"]).run()
    page.button(key="_tag_remove").click().run()
    assert [mlrun.get_run(i).tags for i in ids] == [["a"], [], []]
    pick(page, 0)
    page.button(key="_archive").click().run()
    assert names(page) == ["r1", "r0"]
    pick(page, 1)
    page.button(key="_delete").click().run()
    assert names(page) == ["r1"]
    page.toggle(key="archived").set_value(True).run()
    assert names(page) == ["r2", "r1"]
    pick(page, 0, 1)
    page.button(key="_compare").click().run()
    assert page.session_state["_went"] == ("compare", {"id": [ids[2], ids[1]]})
    assert not page.exception


def test_a_name_that_is_clicked_opens_its_run(opened: Callable[..., Any]) -> None:
    ids = logged()
    page = pick(opened("runs"), cells=((2, "name"),))
    assert page.session_state["_went"] == ("run", {"id": ids[0]})


def test_a_viewer_changes_nothing(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(1)
    monkeypatch.setattr(session, "may", lambda role, project="": False)
    page = opened("runs")
    there = {b.key for b in page.button}
    assert {"_open", "_compare"} <= there
    assert not there & {"_archive", "_restore", "_delete", "_tag_add", "_keep"}


def test_a_view_is_kept_opened_and_deleted(opened: Callable[..., Any]) -> None:
    logged()
    page = opened("runs", project="digits", where="metrics.loss > 1", cols=["metrics.loss"])
    page.text_input(key="_view_name").set_value(HOSTILE).run()
    page.button(key="_keep").click().run()
    assert saved_views(open_store(), "digits", "runs")["name"].to_list() == [HOSTILE]
    page = opened("runs", project="digits")
    assert names(page) == ["r2", "r1", "r0"]
    page.button(key="_view_open").click().run()
    assert not page.exception
    assert page.text_input(key="where").value == "metrics.loss > 1"
    assert names(page) == ["r2", "r1"]
    assert "metrics.loss" in page.dataframe[0].value.columns
    page.button(key="_view_delete").click().run()
    assert saved_views(open_store(), "digits", "runs").is_empty()


def test_stored_text_is_shown_as_text(opened: Callable[..., Any]) -> None:
    with mlrun.init(
        project=HOSTILE, name=HOSTILE, config={HOSTILE: HOSTILE}, tags=[HOSTILE]
    ) as run:
        run.log({HOSTILE: 1.0})
    page = opened("runs", project=HOSTILE)
    assert not page.exception
    assert names(page) == [HOSTILE]
    kinds = ("markdown", "caption", "subheader")
    assert not any(HOSTILE in str(e.value) for kind in kinds for e in page.get(kind))
    assert not any(HOSTILE in str(b.label) for b in [*page.button, *page.toggle])


def test_more_runs_than_are_counted_are_said_to_be_more(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.app.board import page_runs

    monkeypatch.setattr(runs_question, "COUNTED", 2)
    monkeypatch.setattr(page_runs, "COUNTED", 2)
    monkeypatch.setattr(page_runs, "_counted_to", lambda page, size: 2)
    logged(3)
    page = opened("runs")
    assert "more than 2 runs" in shown(page)
    assert list(page.dataframe[0].value["curve"].map(list)) == [[], [], []]  # they come later
    assert not page.exception
