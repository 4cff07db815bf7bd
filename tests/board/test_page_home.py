from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


def test_an_empty_store_says_how_to_begin(opened: Callable[..., Any]) -> None:
    page = opened("home")
    assert not page.exception
    assert "mlrun.init" in page.code[0].value


def test_home_tells_what_runs_what_failed_and_how_busy_projects_are(
    opened: Callable[..., Any],
) -> None:
    with pytest.raises(ValueError, match="x"), mlrun.init(project=HOSTILE, name=HOSTILE):
        raise ValueError(HOSTILE)
    with mlrun.init(project="digits", name="going") as run:
        run.log({"loss": 0.5})
        page = opened("home")
        assert not page.exception
        now, failures, projects = (table.value for table in page.dataframe)
        assert now["name"].to_list() == ["going"]
        assert now["metric"].to_list() == ["loss"]
        assert failures["error"].to_list() == [f"ValueError: {HOSTILE}"]
        assert projects["project"].to_list() == ["digits", HOSTILE]
        assert projects["running"].to_list() == [1, 0]
        assert projects["failed"].to_list() == [0, 1]
    assert HOSTILE not in shown(page)
    chosen = opened("home", project="digits")
    assert "Nothing has failed." in shown(chosen)


def test_a_cell_of_a_project_opens_the_runs_that_it_counts(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="digits", name="done"):
        pass
    page = opened("home")
    for number, column, states in ((0, "project", []), (1, "failed", ["error", "lost"])):
        clicked = {"rows": [], "columns": [], "cells": [(0, column)]}
        page.session_state[f"_projects_{number}"] = {"selection": clicked}
        page.run()
        assert not page.exception
        assert page.session_state["_went"] == ("runs", {"project": "digits", "state": states})
