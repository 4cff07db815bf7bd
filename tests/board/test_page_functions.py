from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.board import session
from mlrun.store import open_store
from mlrun.workflows.schedule import Schedule, get_schedule, put_schedule

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


@pytest.fixture
def project(tmp_path: Path) -> mlrun.Project:
    """Return a project with two versions of a function, each with a run."""
    made = mlrun.get_or_create_project("p", context=tmp_path)
    for number in (1, 2):
        (tmp_path / "trainer.py").write_text(
            f"# {HOSTILE}\ndef train(lr=0.1):\n    return {number}\n"
        )
        fn = made.set_function("trainer.py", name="train", handler="train", requirements=["six"])
        fn.run(params={"lr": 0.5}, executor="local")
    made.save()
    return made


def test_without_functions_the_page_says_how_one_is_stored(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="p"):
        pass
    for room in ("Functions", "Schedules"):
        page = opened("functions", show=room)
        assert not page.exception
        assert "yet" in shown(page)
    page = opened("functions", show="Project", project="p")
    assert "runs only" in shown(page)


def test_a_function_shows_code_needs_changes_and_runs(
    opened: Callable[..., Any], project: mlrun.Project
) -> None:
    page = opened("functions")
    assert page.dataframe[0].value[["name", "versions"]].to_numpy().tolist() == [["train", 2]]
    page = opened("functions", name="train", project="p")
    assert not page.exception
    assert "return 2" in page.code[0].value
    page = opened("functions", name="train", project="p", see="Needs")
    assert "six" in str(page.dataframe[0].value["value"].to_list())
    page = opened("functions", name="train", project="p", see="Changes")
    assert not page.exception
    assert "-    return 1\n+    return 2" in page.code[0].value
    page = opened("functions", name="train", project="p", see="Runs")
    assert page.dataframe[0].value["state"].to_list() == ["completed"]
    page.button(key="_all_runs").click().run()
    where = page.session_state["_went"][1]["where"]
    assert mlrun.runs("p", where=where).height == 1


def test_the_version_of_an_address_is_shown(
    opened: Callable[..., Any], project: mlrun.Project
) -> None:
    first = project.list_functions("train")["hash"][1]
    page = opened("functions", name="train", project="p", version=first[:12])
    assert "return 1" in page.code[0].value
    page = opened("functions", name="train", project="p", see="Versions")
    assert page.dataframe[0].value["hash"].to_list()[1] == first[:12]
    page = opened("functions", name="nobody", project="p")
    assert "No version of it" in shown(page)


def test_hostile_names_are_text(opened: Callable[..., Any]) -> None:
    made = mlrun.get_or_create_project(HOSTILE, context="here")
    name = HOSTILE.replace("/", "|").replace(":", ";")
    made.set_function(lambda: 1, name=name)
    made.description = HOSTILE
    made.save(file=False)
    page = opened("functions", name=name, project=HOSTILE)
    assert not page.exception
    assert "\\*\\*bold\\*\\*" in page.title[0].value
    page = opened("functions", project=HOSTILE, show="Project")
    assert not page.exception
    assert page.text[0].value == HOSTILE


def test_an_editor_pauses_a_schedule(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    put_schedule(store, Schedule("p", HOSTILE, "0 3 * * *", {"kind": "function"}))
    chosen = {"selection": {"rows": [0], "columns": [], "cells": []}}
    page = opened("functions", show="Schedules")
    assert page.dataframe[0].value["cron"].to_list() == ["0 3 * * *"]
    monkeypatch.setattr("mlrun.app.board.functions_schedules.st.dataframe", lambda *a, **k: chosen)
    page.run()
    assert not page.exception
    page.button(key="_pause").click().run()
    assert not get_schedule(store, "p", HOSTILE).enabled
    monkeypatch.setattr(session, "who", lambda: {"user": "vera", "roles": {"": "viewer"}})
    page = opened("functions", show="Schedules")
    assert not [b for b in page.button if b.key == "_pause"]
