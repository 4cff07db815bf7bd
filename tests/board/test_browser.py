from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlrun
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable


def test_home_opens_in_a_browser(dashboard: Callable[..., Any], page: Any) -> None:
    with mlrun.init(project="digits") as run:
        run.log({"loss": 0.5})
    board = dashboard(open_store().url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("", "home"):
        page.goto(board.at(path))
        page.get_by_role("heading", name="Home").wait_for()
        assert not page.get_by_text("Page not found").count()
    assert not page.get_by_text("Traceback").count()
    elsewhere = [url for url in asked if not url.startswith((board.url, "data:", "blob:"))]
    assert elsewhere == []
