from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlrun
from mlrun.app.board import session

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


def _logged() -> None:
    with mlrun.init(project="digits", name=HOSTILE) as run:
        run.log({"loss": 0.5})
    with mlrun.init(project="digits", name="second") as run:
        run.log({"loss": 0.25})


def test_without_a_query_the_page_offers_examples(opened: Callable[..., Any]) -> None:
    _logged()
    page = opened("sql")
    assert not page.exception
    page.button(key="_example1").click().run()
    assert not page.exception
    assert "date_trunc" in page.text_area[0].value
    assert page.dataframe[-1].value["runs"].to_list() == [2]
    assert "mlrun.sql(" in page.code[-1].value


def test_a_shared_address_holds_query_and_chart(opened: Callable[..., Any]) -> None:
    _logged()
    query = "select r.name, s.last as loss from runs r join summaries s using (run_id) order by 2"
    page = opened("sql", q=query, show="Chart", x="name", y="loss", kind="bar")
    assert not page.exception
    assert page.text_area[0].value == query
    assert [box.value for box in page.selectbox[1:]] == ["name", "loss", "", "bar"]
    assert len(page.get("vega_lite_chart")) == 1
    page = opened("sql", q=query)
    assert page.dataframe[-1].value["name"].to_list() == ["second", HOSTILE]


def test_what_is_wrong_with_a_query_stands_under_the_editor(opened: Callable[..., Any]) -> None:
    _logged()
    page = opened("sql", q="select nmae from runs")
    assert not page.exception
    assert "could not be answered" in page.error[0].value
    assert "nmae" in shown(page)
    page.text_area[0].set_value("select name from runs")
    next(b for b in page.button if b.label == "Run").click().run()
    assert not page.error
    assert page.dataframe[-1].value.shape == (2, 1)


def test_a_table_is_chosen_to_select_from(opened: Callable[..., Any]) -> None:
    _logged()
    page = opened("sql", table="metrics")
    assert "step" in page.dataframe[0].value["column"].to_list()
    next(b for b in page.button if b.label == "Select from it").click().run()
    assert not page.exception
    assert page.dataframe[-1].value["value"].to_list() == [0.5, 0.25]


def test_a_query_is_kept_opened_and_deleted(opened: Callable[..., Any]) -> None:
    _logged()
    page = opened("sql", q="select 1 as one from runs limit 1", project="digits")
    page.text_input(key="_saved_name").set_value(HOSTILE)
    next(b for b in page.button if b.label.startswith("Save the")).click().run()
    assert not page.exception
    page = opened("sql", project="digits")
    assert page.selectbox(key="_saved").value == HOSTILE
    page.button(key="_saved_open").click().run()
    assert page.text_area[0].value == "select 1 as one from runs limit 1"
    page.button(key="_saved_delete").click().run()
    assert not page.exception
    assert "Saved queries (0)" in [p.proto.popover.label for p in page.get("popover")]


def test_a_viewer_sees_no_way_to_keep_a_query(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _logged()
    viewer = {"user": "vera", "roles": {"": "viewer"}}
    monkeypatch.setattr(session, "who", lambda: viewer)
    page = opened("sql", q="select 1 as one from runs limit 1")
    assert not page.exception
    assert not page.text_input
    assert "audit" not in page.selectbox(key="table").options
