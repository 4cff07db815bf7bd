from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.board import session

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


def _double(x: int) -> int:
    if x < 0:
        raise ValueError(HOSTILE)
    return 2 * x


@pytest.fixture
def project(tmp_path: Path) -> mlrun.Project:
    made = mlrun.get_or_create_project("p", context=tmp_path)
    made.set_function(_double, name="double")

    @mlrun.workflow
    def main(x: int = 1) -> None:
        first = made.run_function("double", name=HOSTILE, params={"x": x}, returns=["y"])
        made.run_function("double", name="second", params={"x": first.outputs["y"]}, returns=["y"])

    made.set_workflow("main", main)
    return made


def test_without_workflows_the_page_says_what_one_is(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="p"):
        pass
    page = opened("workflows")
    assert not page.exception
    assert "mlrun.workflow" in shown(page)
    assert "of that name" in shown(opened("workflows", name="none"))


def test_a_run_shows_graph_steps_arguments_and_history(
    opened: Callable[..., Any], project: mlrun.Project
) -> None:
    project.run("main", arguments={"x": 1})
    told = [mlrun.Notification("console", name=HOSTILE)]
    with pytest.raises(mlrun.errors.RunError) as failed:
        project.run("main", arguments={"x": -1}, notifications=told)
    failed_run: Any = failed.value.run
    page = opened("workflows")
    assert page.dataframe[0].value["state"].to_list() == ["error", "completed"]
    page = opened("workflows", id=failed_run.id)
    assert not page.exception
    assert len(page.get("image")) == 1
    steps, given, sent, history = (frame.value for frame in page.dataframe)
    assert steps["name"].to_list()[0] == HOSTILE
    assert given["value"].to_list() == ["-1"]
    assert sent["status"].to_list() == ["sent"]
    assert history["state"].to_list() == ["completed"]
    assert "retry()" in page.code[-1].value
    assert not [m for m in page.markdown if m.allow_html and "<img" in m.value]


def test_an_editor_aborts_one_that_goes_on(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlrun.init(project="p", name="flow", kind="workflow") as run:
        page = opened("workflows", id=run.id)
        assert not page.exception
        assert "No step has begun" in shown(page)
        page.button(key="_abort").click().run()
        assert mlrun.get_run(run.id).state in ("aborting", "aborted")
        monkeypatch.setattr(session, "who", lambda: {"user": "vera", "roles": {"": "viewer"}})
        page = opened("workflows", id=run.id)
        assert "_abort" not in [b.key for b in page.button]


def test_another_run_is_no_workflow(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="p", name=HOSTILE) as run:
        pass
    page = opened("workflows", id=run.id)
    assert "no workflow" in shown(page)
    page.button(key="_as_run").click().run()
    assert page.session_state["_went"] == ("run", {"id": run.id})
    assert "Nothing of that name" in shown(opened("workflows", id="gone-gone"))
