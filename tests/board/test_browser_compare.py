from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("browser")  # one dashboard serves them all

HOSTILE = "</script><img src=x onerror=window.harm=1> **b** [x](javascript:harm=1)"


def _logged() -> list[str]:
    ids = []
    for n, name in enumerate((HOSTILE, "second", "third")):
        with mlrun.init(project="digits", name=name, config={"lr": n}) as run:
            for step in range(3000):
                run.log({"loss": (n + 1) / (step + 1) + n}, step=step)
            run.log_result("score", n)
        ids.append(run.id)
    return ids


def _sweep() -> str:
    def train(context: Any, lr: float) -> None:
        context.log_result("score", -lr)

    fn = mlrun.new_function("train", handler=train, project="digits")
    job = fn.run(
        hyperparams={"lr": [1, 2, 3, 4]},
        hyper_param_options=mlrun.HyperParamOptions(selector="max.score"),
        local=True,
    )
    found: str = job.id
    return found


def _drawn(page: Any) -> Any:
    """Wait for a chart; returns its place."""
    page.locator("[data-testid=stVegaLiteChart] :is(canvas, svg.marks)").first.wait_for()
    return page.locator("[data-testid=stVegaLiteChart]").first.bounding_box()


def test_three_runs_are_compared_zoomed_and_taken_away(
    dashboard: Callable[..., Any], page: Any, tmp_path: Path
) -> None:
    ids, sweep = _logged(), _sweep()
    board = dashboard(open_store().url)
    page.goto(board.at("compare", id=ids))
    page.get_by_text("3 runs").wait_for()
    box = _drawn(page)
    page.mouse.move(box["x"] + 250, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 420, box["y"] + 60, steps=4)
    page.mouse.up()
    page.wait_for_url("**from=*")
    page.get_by_role("button", name="Whole range").wait_for()
    _drawn(page)
    page.locator("[data-testid=stVegaLiteChart]").first.hover()
    with page.expect_download() as begun:
        page.get_by_role("button", name="Download as PNG").first.click()
    begun.value.save_as(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as begun:
        page.get_by_role("button", name="SVG").first.click()
    begun.value.save_as(tmp_path / "chart.svg")
    assert "&lt;img" in (tmp_path / "chart.svg").read_text()
    page.get_by_role("button", name="Whole range").click()
    page.get_by_role("button", name="Whole range").wait_for(state="detached")
    assert "from=" not in page.url
    page.get_by_role("radio", name="Relations").click()
    page.get_by_role("heading", name="Scatter").wait_for()
    page.goto(board.at("sweeps", id=sweep))
    page.get_by_text("Best: trial 1, score = -1").wait_for()
    _drawn(page)
    assert page.evaluate("window.harm") is None
    assert not page.get_by_text("could not be drawn").count()
