"""SQL, artifacts and functions in a browser: one dashboard, one page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("browser")  # one dashboard serves them all

HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[x]"


def test_a_query_is_run_by_keyboard_charted_and_shared_and_an_artifact_is_promoted(
    dashboard: Callable[..., Any], page: Any, tmp_path: Path
) -> None:
    with mlrun.init(project="p", name=HOSTILE) as run:
        run.log({"loss": 0.5})
        run.log_html("page", "<script>parent.document.title = 'run'</script><p>stored words</p>")
        run.log_model("clf", body=b"m")
    dialogs: list[Any] = []

    def heard(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", heard)
    board = dashboard(open_store().url)

    page.goto(board.at("sql"))
    editor = page.get_by_label("Query", exact=True)
    editor.fill("select r.name, s.last as loss from runs r join summaries s using (run_id)")
    editor.press("Control+Enter")
    page.get_by_text("1 row, 2 columns").wait_for()
    page.get_by_text("Chart", exact=True).click()
    page.get_by_test_id("stVegaLiteChart").locator("svg, canvas").first.wait_for()
    page.wait_for_url("**show=Chart**")
    shared = page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.path().read_text().splitlines()[0] == "name,loss"
    page.goto("about:blank")
    page.goto(shared)
    page.get_by_test_id("stVegaLiteChart").locator("svg, canvas").first.wait_for()
    assert "join summaries" in page.get_by_label("Query", exact=True).input_value()

    page.goto(board.at("artifacts", artifact="store://p/page:v1"))
    page.get_by_text("Draw it, without scripts").click()
    inner = page.frame_locator("iframe").last.frame_locator("iframe")
    inner.get_by_text("stored words").wait_for()
    assert page.title() != "run"

    page.goto(board.at("artifacts", artifact="store://p/clf:v1", see="Lineage"))
    page.get_by_role("img", name="Made by 1").wait_for()
    page.get_by_role("button", name="Promote").click()
    page.get_by_label("Alias").fill("best")
    page.get_by_label("Alias").press("Enter")
    page.get_by_role("button", name="Set it").click()
    until = time.monotonic() + 30
    while "best" not in mlrun.get_artifact("p/clf:v1").aliases:
        assert time.monotonic() < until
        page.wait_for_timeout(100)
    assert dialogs == []
