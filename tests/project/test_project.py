"""Projects: made, loaded, kept; their functions, artifacts, secrets and lists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import mlrun
from mlrun.errors import ConfigError, NotFound, RunError


def project(name: str = "digits", context: str = "./ctx") -> mlrun.Project:
    return mlrun.get_or_create_project(name, context=context)


# -- made and loaded ----------------------------------------------------------------------------


def test_a_project_is_made_once_and_found_again() -> None:
    first = mlrun.get_or_create_project(
        "digits", context="./ctx", parameters={"a": 1}, description="D."
    )
    assert Path("ctx/project.yaml").is_file()
    again = mlrun.get_or_create_project("digits", context="./ctx")
    assert (again.params, again.description) == ({"a": 1}, "D.")
    assert mlrun.get_current_project() is again is not first
    assert mlrun.projects()["name"].to_list() == ["digits"]
    assert mlrun.projects()["description"].to_list() == ["D."]


def test_a_project_is_found_in_the_store_when_its_folder_is_gone() -> None:
    made = project()
    made.params["a"] = 1
    made.set_function(len, name="length")
    made.save()
    found = mlrun.get_or_create_project("digits", context="./elsewhere")
    assert found.params == {"a": 1}
    assert found.get_function_names() == ["length"]
    assert mlrun.load_project("./third", url="db://digits").get_function_names() == ["length"]
    assert mlrun.load_project("./fourth", name="digits").params == {"a": 1}


def test_new_project_refuses_to_overwrite() -> None:
    project()
    with pytest.raises(ConfigError, match="already"):
        mlrun.new_project("digits", "./other")
    with pytest.raises(ConfigError, match="already"):
        mlrun.new_project("other", "./ctx")
    assert (
        mlrun.new_project("digits", "./ctx", overwrite=True, description="new").description == "new"
    )


def test_a_folder_of_another_project_is_not_taken_over_silently() -> None:
    project().params["a"] = 1
    project().save()
    with pytest.raises(ConfigError, match="allow_cross_project"):
        project("other")
    other = mlrun.get_or_create_project("other", "./ctx", allow_cross_project=True, save=False)
    assert other.name == "other"


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(NotFound, match=r"project\.yaml"):
        mlrun.load_project("./nowhere")
    with pytest.raises(NotFound, match="stored project 'x'"):
        mlrun.load_project("./nowhere", name="x")
    with pytest.raises(ConfigError, match="needs a name"):
        mlrun.get_or_create_project("")
    with pytest.raises(ConfigError, match="leads out"):
        mlrun.get_or_create_project("a", "./ctx", subpath="../../x")
    with pytest.raises(NotFound, match="no current project"):
        mlrun.get_current_project()
    assert mlrun.get_current_project(silent=True) is None


@pytest.mark.parametrize(
    "name", ["../../x", "a/b:c@d", "🚀", "'; drop table projects; --", "a\nb: c", "yes"]
)
def test_any_text_is_a_name(name: str) -> None:
    made = project(name)
    made.set_function(lambda x: x, name="f")
    made.save()
    again = mlrun.load_project("./ctx")
    assert again.name == name
    assert again.run_function("f", params={"x": 1}).project == name
    assert again.list_functions().height == 1
    assert again.list_runs().height == 1


def test_a_template_and_a_user_s_own_name() -> None:
    Path("template.yaml").write_text("metadata: {name: t}\nspec: {params: {a: 1}}\n")
    made = mlrun.new_project("mine", "./ctx", from_template="template.yaml", user_project=True)
    assert made.params == {"a": 1}
    assert made.name.startswith("mine-")


def test_inside_a_handler_the_current_project_is_the_run_s() -> None:
    project("first", "./a").save()
    second = project("second", "./b")

    def which() -> str:
        import mlrun

        return f"{mlrun.get_current_project().name}"  # type: ignore[union-attr]

    second.set_function(which)
    assert second.run_function("which").results == {"return": "second"}
    fn = mlrun.new_function("w", "first", handler=which)
    assert fn.run().results == {"return": "first"}


# -- setup --------------------------------------------------------------------------------------

SETUP = """
def setup(project):
    project.params["seen"] = project.get_param("rows")
    project.set_function("trainer.py", name="train", handler="train")
    return project
"""


def test_a_local_setup_runs_and_sees_the_parameters() -> None:
    Path("ctx").mkdir()
    Path("ctx/project_setup.py").write_text(SETUP)
    Path("ctx/trainer.py").write_text("def train():\n    return 1\n")
    made = mlrun.get_or_create_project("digits", "./ctx", parameters={"rows": 5})
    assert made.get_param("seen") == 5
    assert mlrun.load_project("./ctx", run_setup=False).get_function_names() == ["train"]


def test_a_setup_can_be_left_out_and_run_later() -> None:
    Path("ctx").mkdir()
    Path("ctx/project_setup.py").write_text("def setup(project):\n    project.params['a'] = 1\n")
    made = mlrun.get_or_create_project("digits", "./ctx", run_setup=False)
    assert made.params == {}
    assert made.setup().params == {"a": 1}


@pytest.mark.parametrize(
    ("code", "said"),
    [("x = 1", "no function setup"), ("def setup(project): return 7", "returns the project")],
)
def test_a_setup_that_is_none_is_refused(code: str, said: str) -> None:
    Path("ctx").mkdir()
    Path("ctx/project_setup.py").write_text(code)
    with pytest.raises(ConfigError, match=said):
        project()


# -- functions ----------------------------------------------------------------------------------


def test_an_edited_file_counts_at_the_next_run() -> None:
    made = project()
    Path("ctx/trainer.py").write_text("def train():\n    return 1\n")
    made.set_function("trainer.py", name="train").set_env("A", "1")
    assert made.run_function("train").results == {"return": 1}
    Path("ctx/trainer.py").write_text("def train():\n    return 2\n")
    assert made.run_function("train").results == {"return": 2}
    assert made.get_function("train").get_env("A") == "1"
    assert made.list_functions("train").height == 2
    assert mlrun.runs()["function"].n_unique() == 2


def test_functions_come_from_everything() -> None:
    made = project()
    Path("ctx/code.py").write_text("class C:\n    def m(self):\n        return 'method'\n")
    Path("ctx/function.yaml").write_text(
        "kind: job\nmetadata: {name: y}\nspec:\n  handler: f\n"
        "  code: {kind: source, filename: f.py, text: \"def f(): return 'yaml'\"}\n"
    )
    made.set_function("code.py", name="file", handler="C::m")
    made.set_function("function.yaml")
    made.set_function("json.dumps", name="dotted")
    stored = mlrun.new_function("stored", "digits", handler=lambda: "stored")
    stored.save("v1")
    made.set_function("db://digits/stored:v1", name="kept")
    made.set_function(stored, name="object")
    made.save()
    again = mlrun.load_project("./ctx")
    assert again.run_function("file").results == {"return": "method"}
    assert again.run_function("y").results == {"return": "yaml"}
    assert again.run_function("dotted", params={"obj": 1}).results == {"return": "1"}
    assert again.run_function("kept").results == {"return": "stored"}
    assert again.run_function("object").results == {"return": "stored"}
    assert again.run_function("stored:v1").results == {"return": "stored"}


def test_a_function_that_is_not_there_is_said() -> None:
    made = project()
    made.set_function(lambda: 1, name="train")
    with pytest.raises(NotFound, match="did you mean 'train'"):
        made.run_function("trian")
    with pytest.raises(NotFound, match="no file"):
        made.set_function("nowhere.py")
    with pytest.raises(ConfigError, match="needs a file"):
        made.set_function()
    with pytest.raises(ConfigError, match="for a step"):
        made.run_function("train", cache=True)


def test_functions_can_be_taken_out_and_deleted() -> None:
    made = project()
    made.set_function(lambda: 1, name="train").save()
    made.delete_function("train")
    assert made.get_function_names() == []
    assert made.get_function("train").name == "train", "its versions are still stored"
    made.delete_function("train", delete_from_db=True)
    with pytest.raises(NotFound):
        made.delete_function("train")


def test_run_function_works_without_a_project_too() -> None:
    assert mlrun.run_function(lambda x: x, params={"x": 1}).project == "default"
    project().set_function(lambda x: x + 1, name="f")
    assert mlrun.run_function("f", params={"x": 1}).project == "digits"
    with pytest.raises(ConfigError, match="not 7"):
        mlrun.run_function(7)


def test_a_project_s_own_store_is_where_everything_goes(tmp_path: Path) -> None:
    made = mlrun.get_or_create_project("p", "./ctx", store=tmp_path / "other")
    made.set_function(lambda: 1, name="f")
    made.run_function("f")
    made.log_artifact("note", body="x")
    assert not Path(".mlrun").exists()
    assert made.list_runs().height == 2
    assert made.list_functions().height == 1


# -- secrets ------------------------------------------------------------------------------------


def test_secrets_are_references_and_never_stored_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter2hunter2")
    made = project()
    with pytest.raises(ConfigError) as caught:
        made.set_secrets({"no name": "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)
    made.set_secrets({"KEPT": "hunter2hunter2"})
    assert made.secrets == {"KEPT": f"secret:{made.name}/KEPT"}
    made.set_secrets({"TOKEN": "env:MY_TOKEN"})
    made.save()
    assert made.get_secret("TOKEN") == "hunter2hunter2"

    def use(context: mlrun.Run) -> int:
        return len(context.get_secret("TOKEN") or "")

    fn = made.set_function(use)
    assert fn.run().results == made.run_function("use").results == {"return": 14}
    for path in Path().rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


# -- artifacts and lists ------------------------------------------------------------------------


def test_artifacts_of_a_project() -> None:
    made = project()
    Path("ctx/rows.csv").write_text("a\n1\n")
    made.log_dataset("frame", pl.DataFrame({"a": [1, 2]}))
    made.log_model("clf", body=b"bytes")
    made.set_artifact("rows", "rows.csv", tag="raw", type="dataset")
    made.save()
    again = mlrun.load_project("./ctx")
    assert again.get_artifact("rows", "raw").as_df()["a"].to_list() == [1]
    assert again.list_artifacts()["key"].sort().to_list() == ["clf", "frame", "rows"]
    assert again.list_models()["key"].to_list() == ["clf"]
    assert again.list_artifacts(tag="raw", kind="dataset")["key"].to_list() == ["rows"]
    assert again.get_artifact_uri("frame").startswith("store://digits/frame:v1")
    runs = again.list_runs().height
    mlrun.load_project("./ctx")
    assert again.list_runs().height == runs, "what is registered is not registered again"


def test_an_artifact_is_logged_to_the_open_run_of_the_project() -> None:
    made = project()
    with mlrun.init(project="digits") as run:
        made.log_artifact("note", body="x")
    assert made.list_runs()["run_id"].to_list() == [run.id]
    assert mlrun.artifacts(run.id).height == 1


def test_runs_are_listed_by_name_state_and_label() -> None:
    made = project()
    fn = made.set_function(lambda x: 1 / x, name="f")
    fn.run(params={"x": 1}, labels={"team": "cv's"})
    with pytest.raises(RunError):
        fn.run(params={"x": 0}, name="it's")
    assert made.list_runs("it's", states="error").height == 1
    assert made.list_runs(states=["error", "completed"]).height == 2
    assert made.list_runs(labels={"team": "cv's"}, where="params.x = 1")["name"].to_list() == ["f"]
    assert made.list_runs(labels=["team=x"]).height == 0
    assert isinstance(made.list_runs(), pl.DataFrame)


# -- workflows ----------------------------------------------------------------------------------

WORKFLOW = """
import mlrun
from mlrun.workflows.workflow import workflow

@workflow
def flow(x=1, y=0):
    first = mlrun.run_function("double", params={"x": x})
    project = mlrun.get_current_project()
    second = project.run_function("double", params={"x": first.outputs["y"]})
    return {"y": second.outputs["y"], "given": y}
"""


def test_a_workflow_of_the_project_runs_its_functions() -> None:
    made = project()

    def double(context: mlrun.Run, x: int) -> None:
        context.log_result("y", 2 * x)

    made.set_function(double)
    Path("ctx/flow.py").write_text(WORKFLOW)
    made.set_workflow("main", "flow.py", y=5)
    made.save()
    again = mlrun.load_project("./ctx")
    assert again.run(arguments={"x": 3}).results == {"y": 12, "given": 5}
    with pytest.raises(NotFound, match="did you mean 'main'"):
        again.run("mian")
    with pytest.raises(ConfigError, match="did you mean"):
        again.run("main", engin="local")


# -- light --------------------------------------------------------------------------------------


def test_naming_the_face_loads_nothing_that_is_heavy() -> None:
    code = (
        "import sys, mlrun; mlrun.get_or_create_project('p', './c').set_function('json.dumps', name='f');"
        "print([n for n in ('polars', 'pyarrow', 'ray', 'cloudpickle') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
