from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.xdist_group("browser")  # one dashboard serves them all

CHART = "[data-testid=stVegaLiteChart]"


def test_a_run_moves_while_it_is_written_and_is_looked_into_by_dragging(
    dashboard: Callable[..., Any], page: Any
) -> None:
    run = mlrun.init(project="digits", name="live", console=False)
    for step in range(50):
        run.log({"train/loss": 1 / (step + 1), "val/loss": 2 / (step + 1)}, step=step)
    run.log_html("page", "<h1>Stored</h1><script>parent.document.title='owned'</script>")
    board = dashboard(open_store().url)

    page.goto(board.at("run", id=run.id))
    page.get_by_text("running").first.wait_for()
    page.get_by_role("radio", name="Charts").click()
    page.get_by_text("at step 49").first.wait_for()
    page.locator(f"{CHART} canvas").nth(1).wait_for()
    assert "room=charts" in page.url

    # a new point is seen without a reload, in the same node of the page
    page.evaluate(f"document.querySelector('{CHART}').mark = 'kept'")
    run.log({"train/loss": 0.001}, step=50)
    page.get_by_text("last 0.001 at step 50").wait_for()
    assert page.evaluate(f"document.querySelector('{CHART}').mark") == "kept"
    assert run.writer is not None
    run.finish()
    page.get_by_text("completed").first.wait_for()

    # a range that is dragged over one chart holds for all, and is in the address
    page.wait_for_function(f"document.querySelector('{CHART} canvas')?.clientWidth > 100")
    box = page.locator(f"{CHART} canvas").first.bounding_box()
    across = [box["x"] + box["width"] * share for share in (0.4, 0.6, 0.8)]
    page.mouse.move(across[0], box["y"] + 60)
    page.mouse.down()
    for x in across[1:]:
        page.mouse.move(x, box["y"] + 60, steps=3)
    page.mouse.up()
    page.get_by_role("button", name="Whole range").wait_for()
    page.wait_for_url("**from=*")
    shared = page.url
    page.goto(shared)
    page.get_by_role("button", name="Whole range").click()
    page.get_by_text("Drag over a chart").wait_for()
    assert "from=" not in page.url

    # stored markup is drawn in a frame in which nothing runs
    page.goto(board.at("run", id=run.id, room="artifacts", artifact="store://digits/page:v1"))
    page.get_by_text("Draw it, without scripts").click()
    inner = page.frame_locator("[data-testid=stIFrame]").frame_locator("iframe")
    inner.get_by_role("heading", name="Stored").wait_for()
    assert page.title() != "owned"
