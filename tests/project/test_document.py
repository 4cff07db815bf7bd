"""`project.yaml` is read, changed and written again; what is not known stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import ConfigError
from mlrun.functions.spec import read_yaml
from mlrun.project.document import ProjectDocument

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
# comments stay as long as nothing changes
kind: project
metadata:
  name: digits
  labels: {team: cv}
  annotations: {owner: me}
spec:
  a_key_of_tomorrow: [1, {b: 2}]
  description: Digits.
  params: {lr: 0.1, day: 2024-01-31}
  source: git://host.example/org/digits.git#main
  default_image: python:3.12
  requirements: [numpy]
  functions:
  - url: trainer.py
    name: train
    kind: job
    handler: train
    unknown_of_function: x
  - name: whole
    spec:
      kind: job
      metadata: {name: whole}
      spec:
        code: {kind: source, filename: w.py, text: "def w(): return 3"}
  workflows:
  - {name: main, path: workflow.py, unknown_of_workflow: y}
  artifacts:
  - {key: rows, target_path: rows.csv, kind: dataset}
  secrets: {TOKEN: "env:TOKEN"}
top: 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "ctx"
    place.mkdir()
    (place / "project.yaml").write_text(TEXT)
    (place / "trainer.py").write_text("def train(lr=1):\n    return lr\n")
    (place / "rows.csv").write_text("a\n1\n")
    return place


def test_loading_and_saving_changes_nothing(folder: Path) -> None:
    project = mlrun.load_project(folder)
    assert project.to_dict() == read_yaml(folder / "project.yaml")
    assert (folder / "project.yaml").read_text() == TEXT
    project.get_function_objects()
    project.save()
    assert mlrun.load_project(folder).to_dict() == project.to_dict()


def test_what_is_not_known_is_kept_through_changes(folder: Path) -> None:
    project = mlrun.load_project(folder)
    project.get_function("train").set_env("A", "1")
    project.params["epochs"] = 3
    project.set_function(folder / "trainer.py", name="second", handler="train")
    project.set_workflow("night", "workflow.py", engine="ray", size=3)
    project.save()
    text = (folder / "project.yaml").read_text()
    found: Any = read_yaml(folder / "project.yaml")
    assert found["top"] == 1
    assert found["metadata"]["annotations"] == {"owner": "me"}
    assert found["spec"]["a_key_of_tomorrow"] == [1, {"b": 2}]
    train, whole, second = found["spec"]["functions"]
    assert train == {
        "url": "trainer.py", "name": "train", "kind": "job", "handler": "train",
        "unknown_of_function": "x", "env": {"A": "1"},
    }  # fmt: skip
    assert whole["spec"]["spec"]["code"]["text"] == "def w(): return 3"
    assert second == {"name": "second", "url": "trainer.py", "kind": "job", "handler": "train"}
    assert found["spec"]["workflows"][1] == {
        "name": "night", "path": "workflow.py", "engine": "ray", "args": {"size": 3},
    }  # fmt: skip
    assert found["spec"]["params"] == {"lr": 0.1, "day": "2024-01-31", "epochs": 3}
    assert text.index("a_key_of_tomorrow") < text.index("description") < text.index("functions")
    again = mlrun.load_project(folder)
    assert again.get_function("train").get_env("A") == "1"
    assert again.to_dict() == project.to_dict()


def test_functions_are_the_same_version_after_a_round_trip(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "known here")
    project = mlrun.load_project(folder)

    def local(x: int) -> int:
        return x + 1

    project.set_function(local)
    project.set_function(lambda x: x, name="anonymous", resources={"num_cpus": 2})
    project.set_function(
        "trainer.py", name="repo", handler="train", with_repo=True, requirements=["polars"]
    )
    project.save()
    again = mlrun.load_project(folder)
    assert again.get_function_names() == ["train", "whole", "local", "anonymous", "repo"]
    for name, function in project.get_function_objects().items():
        assert again.get_function(name).hash == function.hash, name
    assert again.run_function("local", params={"x": 1}).results == {"return": 2}
    assert again.run_function("whole").results == {"return": 3}


def test_functions_take_what_the_project_has_for_all(folder: Path) -> None:
    project = mlrun.load_project(folder)
    train = project.get_function("train")
    assert (train.spec.image, train.spec.requirements) == ("python:3.12", ["numpy"])
    own = project.set_function("trainer.py", name="own", image="mine", requirements=["polars"])
    assert (own.spec.image, own.spec.requirements) == ("mine", ["numpy", "polars"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: function\nmetadata: {name: a}", "not a project"),
        ("metadata: {}", "needs a name"),
        ("metadata: {name: a}\nspec: [1]", "spec is a mapping"),
        ("metadata: {name: a}\nspec: {functions: {}}\n", "spec.functions is a list"),
        ("metadata: {name: a}\nspec: {functions: [x]}\n", "an entry of spec.functions"),
        ("metadata: {name: a}\nspec: {params: [x]}\n", "spec.params is a mapping"),
        ("- a", "not a mapping"),
        ("a: !!python/object/apply:os.getcwd []", "cannot read"),
    ],
)
def test_what_is_no_project_is_refused_with_its_reason(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "project.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        mlrun.load_project(tmp_path)


def test_a_mapping_given_for_a_list_of_functions_says_so() -> None:
    with pytest.raises(ConfigError, match="a list"):
        ProjectDocument({"metadata": {"name": "a"}, "spec": {"workflows": {"x": 1}}})
