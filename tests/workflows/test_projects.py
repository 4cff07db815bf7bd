"""Workflows of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import ConfigError, NotFound
from mlrun.workflows.schedule import get_schedule, list_schedules

if TYPE_CHECKING:
    from pathlib import Path

STEPS = "def double(x):\n    return 2 * x\n"
FLOW = """
import mlrun

@mlrun.workflow
def flow(x=1, times=1):
    found = mlrun.run_function("double", params={"x": x}, returns=["y"])
    for _ in range(times - 1):
        found = mlrun.run_function("double", params={"x": found.outputs["y"]}, returns=["y"])
    return {"y": found.outputs["y"]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Any:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "steps.py").write_text(STEPS)
    (folder / "flow.py").write_text(FLOW)
    found = mlrun.get_or_create_project("digits", context=folder)
    found.set_function("steps.py", name="double", handler="double")
    return found


def test_a_file_of_the_project_is_run_by_its_name(project: Any) -> None:
    project.set_workflow("main", "flow.py", x=5)
    view = project.run()
    assert (view.name, view.project, view.results) == ("main", "digits", {"y": 10})
    assert project.run("main", arguments={"times": 3}).results == {"y": 40}
    assert project.run(workflow_path="flow.py", arguments={"x": 3}).name == "flow"
    with pytest.raises(NotFound, match="did you mean 'main'"):
        project.run("mian")
    with pytest.raises(ConfigError, match="has no argument 'argument'"):
        project.run("main", argument={})


def test_a_function_of_this_process_is_run_and_is_no_part_of_the_file(project: Any) -> None:
    @mlrun.workflow
    def mine(x: int = 2) -> Any:
        return {"y": project.run_function("double", params={"x": x}, returns=["y"]).outputs["y"]}

    assert project.run(mine).results == {"y": 4}
    project.set_workflow("mine", mine, x=4)
    assert project.run("mine").results == {"y": 8}
    assert "mine" in project.get_workflow_names()
    assert "mine" not in project.to_yaml()
    with pytest.raises(ConfigError, match="put it into a file"):
        project.run("mine", schedule="0 0 * * *")


def test_a_function_in_a_file_of_the_project_is_kept_by_that(project: Any) -> None:
    from mlrun.functions.module import load_source

    path = project.context / "flow.py"
    flow = load_source(path.read_text(), "flow.py", str(path)).flow
    project.set_workflow("kept", flow)
    assert project.get_workflow("kept") == {"name": "kept", "path": "flow.py", "handler": "flow"}


def test_beside_the_caller_and_with_a_timeout(project: Any) -> None:
    project.set_workflow("main", "flow.py")
    view = project.run(watch=False, timeout="5m", engine="local").wait_for_completion(60)
    assert view.results == {"y": 2}


def test_a_schedule_of_a_workflow_saves_the_project(project: Any) -> None:
    project.set_workflow("night", "flow.py", schedule="0 3 * * *", x=7)
    kept = get_schedule(project.store, "digits", "night")
    assert kept.target["arguments"] == {"x": 7}
    assert list_schedules(project.store, "digits")["kind"][0] == "workflow"
    assert "night" in (project.context / "project.yaml").read_text()


def test_a_failed_workflow_of_a_project_is_resumed_by_its_id(project: Any, tmp_path: Path) -> None:
    (project.context / "steps.py").write_text(
        "import os\ndef double(x, ok=''):\n    if x > 1 and not os.path.exists(ok):\n"
        "        raise ValueError('boom')\n    return 2 * x\n"
    )
    (project.context / "flow.py").write_text(FLOW.replace('"x": found', '"ok": "OK", "x": found'))
    text = (project.context / "flow.py").read_text().replace("OK", str(tmp_path / "ok"))
    (project.context / "flow.py").write_text(text)
    project.set_workflow("main", "flow.py")
    with pytest.raises(mlrun.errors.RunError, match="boom") as caught:
        project.run(arguments={"times": 2})
    (tmp_path / "ok").touch()
    bad: Any = caught.value.run
    view = project.run(resume=bad.id)
    assert view.results == {"y": 4}
    assert [s["state"] for s in view.provenance["graph"]] == ["cached", "completed"]
