from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlrun

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


def _logged(count: int = 3, name: str = "run") -> list[str]:
    ids = []
    for n in range(count):
        with mlrun.init(
            project="digits", name=name, config={"lr": 0.1 * (n + 1), "net": "cnn", HOSTILE: n % 2}
        ) as run:
            for step in range(5):
                run.log({"loss": (n + 1) / (step + 1), HOSTILE: step}, step=step)
            run.log_result("score", 10 - n)
        ids.append(run.id)
    return ids


def test_an_empty_store_says_how_to_begin(opened: Callable[..., Any]) -> None:
    page = opened("compare")
    assert not page.exception
    assert "mlrun.init" in page.code[0].value


def test_curves_of_chosen_runs_are_drawn_and_the_address_holds_how(
    opened: Callable[..., Any],
) -> None:
    ids = _logged(name=HOSTILE)
    page = opened("compare", id=ids[:2], keys=["loss"], x="relative", by="params.lr", smooth="0.5")
    assert not page.exception
    assert "2 runs" in shown(page)
    assert page.multiselect(key="keys").value == ["loss"]
    assert page.selectbox(key="x").value == "relative"
    assert page.slider(key="smooth").value == 0.5
    assert len(page.get("vega_lite_chart")) == 1
    assert "A line is a group's mean" in shown(page)
    page.multiselect(key="keys").set_value(["loss", HOSTILE])
    page.selectbox(key="by").set_value("")
    page.toggle(key="logy").set_value(True)
    page.run()
    assert not page.exception
    assert len(page.get("vega_lite_chart")) == 2
    assert not page.get("imgs")
    assert "<img" not in "".join(e.value.replace("\\<", "") for e in page.subheader)


def test_a_range_in_the_address_asks_for_its_points(opened: Callable[..., Any]) -> None:
    _logged(1)
    page = opened("compare", keys=["loss"], **{"from": "0.5", "to": "2.5"})
    assert not page.exception
    points = page.session_state["_kept"]["compare points"][2]
    assert points["x"].to_list() == [0.0, 1.0, 2.0, 3.0]
    whole = next(b for b in page.button if b.label == "Whole range")
    whole.click().run()
    assert page.session_state["_kept"]["compare points"][2].height == 5
    page = opened("compare", keys=["loss"], **{"from": "9", "to": "x"})
    assert not page.exception


def test_the_table_shows_what_differs_and_on_wish_the_rest(opened: Callable[..., Any]) -> None:
    _logged(name="same")
    page = opened("compare", view="Table")
    assert not page.exception
    found = page.dataframe[0].value
    assert "lr" in set(found["name"])
    assert "net" not in set(found["name"])
    page.toggle(key="all").set_value(True).run()
    assert "net" in set(page.dataframe[0].value["name"])


def test_relations_of_few_and_of_many_runs(opened: Callable[..., Any]) -> None:
    _logged(2, name=HOSTILE)
    page = opened("compare", view="Relations", target="metrics.loss")
    assert not page.exception
    assert "This takes 4 runs" in shown(page)
    assert len(page.get("vega_lite_chart")) == 2
    _logged(6)
    page = opened("compare", view="Relations", target="results.score", color="params.lr")
    assert not page.exception
    assert len(page.get("vega_lite_chart")) == 3
    assert "params.lr" in set(page.dataframe[0].value["param"])


def test_many_runs_are_quantiles_with_some_in_colour(opened: Callable[..., Any]) -> None:
    ids = _logged(15)
    marked = f"run {ids[0][-4:]}"
    page = opened("compare", where="params.net = 'cnn'", keys=["loss"], mark=[marked])
    assert not page.exception
    assert page.multiselect(key="mark").value == [marked]
    assert "the middle half" in shown(page)
    page.segmented_control(key="crowd").set_value("every run").run()
    assert not page.exception


def test_a_filter_that_cannot_be_read_and_one_that_fits_nothing_are_said(
    opened: Callable[..., Any],
) -> None:
    _logged(1)
    page = opened("compare", where="metric.acc > ")
    assert not page.exception
    assert "cannot be understood" in page.error[0].value
    assert page.text_input(key="where").value == "metric.acc > "
    assert "No run is found" in shown(opened("compare", where="params.lr = 7"))
    page = opened("compare", id=["no'such", "**x**"])
    assert not page.exception
    assert "No run is found" in shown(page)


def test_runs_without_metrics_say_so(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="digits", config={"lr": 1}):
        pass
    page = opened("compare")
    assert not page.exception
    assert "No metrics yet" in shown(page)
    assert not opened("compare", view="Relations").exception
    assert not opened("compare", view="Table").exception
