"""`mlrun project` shows, loads and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

WORKFLOW = """
from mlrun.workflows.workflow import workflow
import mlrun

@workflow
def flow(x=1):
    step = mlrun.run_function("double", params={"x": x}, returns=["y"])
    return {"y": step.outputs["y"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "ctx"
    place.mkdir()
    (place / "project.yaml").write_text(
        "metadata: {name: digits}\nspec:\n  params: {rows: 5}\n"
        "  functions: [{name: double, url: code.py}]\n  workflows: [{name: main, path: flow.py}]\n"
    )
    (place / "code.py").write_text("def double(x):\n    return 2 * x\n")
    (place / "flow.py").write_text(WORKFLOW)
    (place / "project_setup.py").write_text(
        "def setup(project):\n    open('ran', 'w').close()\n    return project\n"
    )
    return place


@pytest.fixture
def call(cli: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    return lambda *words: cli("project", *words, store=str(tmp_path / "store"))


def test_showing_a_project_runs_nothing(call: Callable[..., Any], folder: Path) -> None:
    before = (folder / "project.yaml").read_text()
    answer = call(folder)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        "part\tname\tvalue", "param\trows\t5", "function\tdouble\tcode.py", "workflow\tmain\tflow.py",
    ]  # fmt: skip
    assert json.loads(call(folder, "--json").out)["metadata"] == {"name": "digits"}
    assert not Path("ran").exists()
    assert (folder / "project.yaml").read_text() == before


def test_a_workflow_is_run_with_arguments(call: Callable[..., Any], folder: Path) -> None:
    answer = call(folder, "--run", "main", "-a", "x=4", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["state"], told["results"]) == ("completed", {"y": 8})
    assert Path("ran").exists()


def test_a_project_is_made_and_saved(call: Callable[..., Any]) -> None:
    answer = call("./new", "--create", "--name", "fresh", "-p", "lr=0.1", "-p", "who=me")
    assert answer.code == 0, answer.err
    assert "lr: 0.1" in Path("new/project.yaml").read_text()
    assert call("./new", "--create").code == 2
    assert call("./new", "-p", "novalue").code == 2


def test_a_fetched_project_runs_no_setup_unless_trusted(
    call: Callable[..., Any], folder: Path
) -> None:
    with pytest.warns(UserWarning, match="trust=True"):
        assert call("./a", "--url", str(folder), "--save").code == 0
    assert not Path("ran").exists()
    assert call("./b", "--url", str(folder), "--save", "--trust").code == 0
    assert Path("ran").exists()


def test_what_is_not_there_has_its_exit_code(call: Callable[..., Any], folder: Path) -> None:
    assert call("./nowhere").code == 3
    assert call(folder, "--run", "nothing").code == 3
    (folder / "code.py").write_text("def double(x):\n    return 1 / 0\n")
    answer = call(folder, "--run", "main")
    assert answer.code == 1
    assert "ended as error" in answer.err
