from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlrun

if TYPE_CHECKING:
    from collections.abc import Callable


def test_an_empty_store_says_how_to_begin(opened: Callable[..., Any]) -> None:
    page = opened("home")
    assert not page.exception
    assert "mlrun.init" in page.code[0].value


def test_projects_are_listed(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="digits") as run:
        run.log({"loss": 0.5})
    page = opened("home")
    assert not page.exception
    assert page.dataframe[0].value["name"].to_list() == ["digits"]
