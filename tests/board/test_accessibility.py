from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

_WAIT = 30_000  # milliseconds
_GRAVE = ("serious", "critical")
# faults of Streamlit's own markup: the rule, and what the fault lies in. Its list of pages has sections between the
# list and its items
_STREAMLIT = (("list", "[data-testid=stSidebarNav]"), ("listitem", "[data-testid=stSidebarNav]"))


def _logged() -> str:
    for n in range(3):
        with mlrun.init(
            project="digits", name=f"net-{n}", config={"lr": 0.1 * (n + 1), "depth": n}
        ) as run:
            for step in range(5):
                run.log({"loss": (n + 1) / (step + 1), "acc": step / 5}, step=step)
            run.log_result("score", n)
    with pytest.raises(ValueError, match="bad"), mlrun.init(project="digits", name="fails"):
        raise ValueError("bad")
    return str(run.id)


def _faults(page: Any) -> list[tuple[str, str, str]]:
    """Return the grave faults of a page that are not Streamlit's own: rule, markup, and what is wrong with it."""
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    found = Axe().run(page).response["violations"]
    return [
        (fault["id"], node["html"][:160], str(node.get("failureSummary"))[:300])
        for fault in found
        if fault["impact"] in _GRAVE
        for node in fault["nodes"]
        if not any(
            fault["id"] == rule and _lies_in(page, node["target"][-1], place)
            for rule, place in _STREAMLIT
        )
    ]


def _lies_in(page: Any, selector: str, place: str) -> bool:
    lies = "([one, place]) => !!document.querySelector(one)?.closest(place)"
    return bool(page.evaluate(lies, [selector, place]))


def _settled(page: Any) -> None:
    """Wait until a page is drawn and nothing of it is stale."""
    page.get_by_role("heading", level=1).first.wait_for(timeout=_WAIT)
    page.wait_for_function(
        "!document.querySelector('[data-testid=stApp][data-test-script-state=running],"
        " [data-testid=stSkeleton], [data-stale=true]')",
        timeout=_WAIT,
    )
    page.wait_for_timeout(700)  # what fades in has no contrast before


def test_no_main_page_has_a_grave_fault_in_light_or_dark(
    dashboard: Callable[..., Any], browser: Any
) -> None:
    pytest.importorskip("axe_playwright_python")
    run_id = _logged()
    board = dashboard(open_store().url)
    pages = [("home", {}), ("runs", {}), ("run", {"id": run_id}), ("compare", {}), ("sql", {})]
    found = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        for name, given in pages:
            page.goto(board.at(name, **given))
            _settled(page)
            if faults := _faults(page):
                found[f"{name}, {scheme}"] = faults
        context.close()
    assert not found, found
