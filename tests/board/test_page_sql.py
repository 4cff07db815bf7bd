from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlrun

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

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
