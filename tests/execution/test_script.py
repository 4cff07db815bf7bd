from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun
from mlrun.cli.root import run as cli
from mlrun.execution.perform import perform
from mlrun.execution.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[2]

TRAIN = """
    import sys
    import mlrun

    def train(context, lr: float = 0.5):
        context.log({"loss": lr})
        context.log_result("seen", context.get_param("lr", 0.5))
        print("args", sys.argv[1:])

    if __name__ == "__main__":
        context = mlrun.get_or_create_ctx("train", project="p")
        train(context, context.get_param("lr", 0.5))
        if context.get_param("fails", False):
            raise ValueError("it fails")
"""


@pytest.fixture
def script(own_folder: Path) -> Path:
    path = own_folder / "train.py"
    path.write_text(textwrap.dedent(TRAIN))
    return path


@pytest.fixture
def command(script: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, str]]:
    """Run a command line; returns its exit code, the JSON on its stdout's last line, and stderr."""

    def run(*words: str) -> tuple[int, Any, str]:
        code = cli([words[0], "--json", *words[1:]])
        out, err = capfd.readouterr()
        return code, json.loads(out.splitlines()[-1]), err

    return run


def test_the_same_file_runs_as_a_script_a_job_and_a_handler(
    script: Path, command: Callable[..., tuple[int, Any, str]]
) -> None:
    subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True
    )
    code, job, _ = command("run", "train.py", "-p", "lr=0.25", "--project", "p")
    assert code == 0
    code, handled, _ = command(
        "run", "train.py", "--handler", "train", "-p", "lr=0.125", "--project", "p"
    )
    assert code == 0
    assert (job["state"], job["results"]) == ("completed", {"seen": 0.25})
    assert (handled["state"], handled["results"]) == ("completed", {"seen": 0.125})
    found = mlrun.runs(
        "p", columns=["state", "results.seen", "metrics.loss"], order_by="metrics.loss"
    )
    assert found.rows() == [
        ("completed", 0.125, 0.125),
        ("completed", 0.25, 0.25),
        ("completed", 0.5, 0.5),
    ]


def test_arguments_name_params_in_braces(command: Callable[..., tuple[int, Any, str]]) -> None:
    _, found, _ = command(
        "run", "train.py", "-p", "lr=0.25", "--project", "p", "--", "--rate={lr}", "x"
    )
    logs = mlrun.logs(found["run_id"])
    assert logs["line"].to_list() == ["args ['--rate=0.25', 'x']"]


def test_an_argument_that_names_no_param_fails_with_a_hint(
    command: Callable[..., tuple[int, Any, str]],
) -> None:
    code, found, _ = command("run", "train.py", "-p", "rate=1", "--", "{rat}")
    assert (code, found["state"]) == (1, "error")
    assert "names no param of the run (did you mean 'rate'?)" in found["error"]


def test_a_script_that_fails_ends_its_run_with_what_it_said(
    command: Callable[..., tuple[int, Any, str]],
) -> None:
    code, found, _ = command("run", "train.py", "-p", "fails=true", "--project", "p")
    assert (code, found["state"], found["results"]) == (1, "error", {"seen": 0.5})
    assert "train.py ended with exit code 1" in found["error"]
    assert "ValueError: it fails" in found["error"]
    logs = mlrun.get_run(found["run_id"]).logs()
    assert isinstance(logs, pl.DataFrame)
    assert logs["line"].to_list().count("ValueError: it fails") == 1


def test_a_script_that_is_not_there_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli(["run", "nothing.py"]) == 2
    assert "no file 'nothing.py'" in capfd.readouterr().err
    assert cli(["run", "nothing"]) == 3


def test_a_script_travels_with_its_text(script: Path, own_folder: Path) -> None:
    text = script.read_text()
    script.unlink()
    code = {"kind": "command", "path": str(script), "args": [], "text": text}
    task = Task(
        "r",
        "n",
        "p",
        function={"code": code},
        store={"dbpath": str(own_folder / ".mlrun")},
        fresh=True,
    )
    outcome = perform(task)
    assert (outcome["state"], outcome["error"]) == ("completed", None)


def test_another_program_is_a_command_too(own_folder: Path) -> None:
    code = {"kind": "command", "path": "sh -c", "args": ["echo got {word}; exit {code}"]}
    task = Task(
        "r", "n", "p", function={"code": code}, store={"dbpath": str(own_folder / ".mlrun")},
        params={"word": "it", "code": 4}, fresh=True,
    )  # fmt: skip
    outcome = perform(task)
    assert outcome["state"] == "error"
    assert "exit code 4" in outcome["error"]
    assert mlrun.logs("r")["line"].to_list() == ["got it"]


def test_a_context_without_a_job_is_a_new_run_with_what_was_asked() -> None:
    spec = {"params": {"lr": 0.5}, "inputs": {"data": "somewhere.csv"}}
    context = mlrun.get_or_create_ctx("mine", project="p", spec=spec)
    assert mlrun.get_or_create_ctx("other") is context
    assert context.inputs == {"data": "somewhere.csv"}
    context.finish()
    view = mlrun.get_run(context.id)
    assert (view.name, view.params, view.state) == ("mine", {"lr": 0.5}, "completed")


def test_mlrun_abort_aborts(
    command: Callable[..., tuple[int, Any, str]], script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script.write_text("import time\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "mlrun.cli", "run", "train.py", "--name", "long"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        mlrun.open_store().prepare()
        while not mlrun.runs(where="state = 'running'").height:
            assert process.poll() is None
        assert cli(["abort", "long", "--reason", "enough"]) == 0
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
    assert "run 'long' is aborted" in capfd.readouterr().err
    view = mlrun.get_run("long")
    assert (view.state, view.error) == ("aborted", "enough")


def test_what_the_command_line_runs_is_a_stored_version(
    command: Callable[..., tuple[int, Any, str]], own_folder: Path
) -> None:
    versions = []
    for words in (["--handler", "train"], [], ["--", "--lr", "{lr}"]):
        code, out, err = command("run", "train.py", "-p", "lr=0.5", *words)
        assert code == 0, err
        function = mlrun.get_run(out["run_id"]).record["function"]
        versions.append(mlrun.import_function(function).hash)
    assert len(set(versions)) == 3
    assert command("run", "train", "-p", "lr=0.5")[1]["state"] == "completed"  # the stored one


def test_notebooks_and_yaml_are_run_too(
    command: Callable[..., tuple[int, Any, str]], own_folder: Path
) -> None:
    cell = {"cell_type": "code", "source": "def double(x):\n    return 2 * x"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    Path("my notes.ipynb").write_text(json.dumps(notebook))
    found = command("run", "my notes.ipynb", "--handler", "double", "-p", "x=4", "-r", "y")[1]
    assert (found["name"], found["outputs"]) == ("my-notes", {"y": 8})
    mlrun.import_function(mlrun.get_run(found["run_id"]).record["function"]).export("fn.yaml")
    assert command("run", "fn.yaml", "-p", "x=5", "-r", "y")[1]["outputs"] == {"y": 10}


def test_a_run_that_would_end_with_the_command_is_not_left_alone(
    script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli(["run", "train.py", "--no-watch"]) == 2
    assert "a run on 'local' ends with this command" in capfd.readouterr().err
    assert not mlrun.open_store().exists()
