from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import mlrun
from mlrun.cli.root import cli

SCRIPT = """
def train(context, lr, depth):
    context.log_result("score", depth - lr)
"""


def test_a_grid_can_be_run_from_the_command_line() -> None:
    Path("train.py").write_text(SCRIPT)
    words = ["run", "train.py", "--handler", "train", "-x", "lr=[0.5,0.25]", "-x", "depth=[2,4]"]
    done = CliRunner().invoke(
        cli, [*words, "--selector", "max.score", "--local", "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["results"] == {"best_iteration": 4, "score": 3.75}
    assert mlrun.get_run(said["run_id"]).iterations.height == 4


def test_further_options_are_an_object() -> None:
    Path("train.py").write_text(SCRIPT)
    words = ["run", "train.py", "--handler", "train", "-x", "lr=[0.5,0.25]", "-x", "depth=[2,4]"]
    options = '{"strategy": "list", "selector": "min.score"}'
    done = CliRunner().invoke(cli, [*words, "--hyper-param-options", options, "--local", "--json"])
    assert json.loads(done.stdout)["results"] == {"best_iteration": 1, "score": 1.5}


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_options_that_are_no_object_are_refused(text: str) -> None:
    Path("train.py").write_text(SCRIPT)
    done = CliRunner().invoke(cli, ["run", "train.py", "--hyper-param-options", text])
    assert done.exit_code == 2
    assert "--hyper-param-options" in done.stderr
