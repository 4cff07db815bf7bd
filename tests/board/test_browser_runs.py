from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.xdist_group("browser")  # one dashboard serves them all

HOSTILE = "</script><img src=x onerror=window.broken=1>"
ROW = 35  # pixels of a table's row, and of its head


def test_runs_are_found_by_a_filter_watched_picked_and_opened(
    dashboard: Callable[..., Any], page: Any
) -> None:
    ids = {}
    for i in range(4):
        with mlrun.init(project="digits", name=f"r{i} {HOSTILE}", config={"lr": i / 10}) as run:
            run.log({"val/acc": i / 4})
        ids[i] = run.id
    board = dashboard(open_store().url)
    page.goto(board.at("runs", project="digits", cols=["state", "metrics.val/acc"]))
    table = page.get_by_test_id("stDataFrame")
    cells = table.locator("[role=gridcell]")
    cells.first.wait_for(state="attached")
    page.get_by_text("4 runs").wait_for()

    page.get_by_label("Filter").fill('metrics."val/acc" >')
    page.get_by_label("Filter").press("Enter")
    page.get_by_text("the expression ends too early").wait_for()
    page.get_by_text("4 runs").wait_for()
    page.get_by_label("Filter").fill('metrics."val/acc" > 0.4')
    page.get_by_label("Filter").press("Enter")
    page.get_by_text("2 runs").wait_for()
    assert "where=" in page.url
    assert "cols=metrics.val%2Facc" in page.url.replace("/acc", "%2Facc")

    with mlrun.init(project="digits", name="live") as live:
        live.log({"val/acc": 0.75})
        page.get_by_text("3 runs").wait_for(timeout=60_000)
        live.log({"val/acc": 0.875})
        table.locator("[role=gridcell]", has_text="0.875").last.wait_for(state="attached")
    table.locator("[role=gridcell]", has_text="completed").nth(2).wait_for(state="attached")

    box = table.bounding_box()
    for row in (1, 2):
        page.mouse.click(box["x"] + 16, box["y"] + ROW * row + 17)
        page.get_by_text(f"{row} picked").wait_for()
    page.mouse.click(box["x"] + 100, box["y"] + ROW * 2 + 17)
    page.wait_for_url(re.compile(rf"/run\?id={ids[3]}"))
    assert page.evaluate("window.broken") is None


def test_home_asks_no_other_host_and_opens_runs_of_a_project_that_failed(
    dashboard: Callable[..., Any], page: Any
) -> None:
    for i, project in enumerate(("digits", HOSTILE)):
        try:
            with mlrun.init(project=project, name="bad"):
                raise ValueError(HOSTILE * i)
        except ValueError:
            continue
    board = dashboard(open_store().url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("home", ""):
        page.goto(board.at(path))
        page.get_by_role("heading", name="Projects").wait_for()
        assert not page.get_by_text("Page not found").count()
    elsewhere = [url for url in asked if not url.startswith((board.url, "data:", "blob:"))]
    assert elsewhere == []
    table = page.get_by_test_id("stDataFrame").last
    table.locator("[role=gridcell]").first.wait_for(state="attached")
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 60, box["y"] + ROW + 17)
    page.get_by_role("heading", name="Runs").wait_for()
    page.get_by_text("1 run", exact=True).wait_for()
    assert page.evaluate("window.broken") is None
    assert not page.get_by_text("could not be drawn").count()
