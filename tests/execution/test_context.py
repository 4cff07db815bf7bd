"""What a handler's context has beside what `Run` has anywhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.view import RunView


def test_its_loggers_lines_are_the_runs(
    start: Callable[..., RunView], capsys: pytest.CaptureFixture[str]
) -> None:
    def tells(context: Any) -> None:
        context.logger.info("read", rows=3)
        context.logger.debug("not shown")
        context.logger.warning("take %s", "care")

    for watch in (True, False):
        lines = start(tells, watch=watch).wait_for_completion(60).logs()
        assert isinstance(lines, pl.DataFrame)
        said = [line.partition("[")[2] for line in lines["line"]]
        assert said == ["info] read {'rows': 3}", "warning] take care"]
    assert capsys.readouterr().out == ""
    assert logging.getLogger().handlers == [] or logging.getLogger("mlrun.run").propagate is False


def test_it_reads_artifacts_and_params_of_its_project(
    start: Callable[..., RunView], tmp_path: Path
) -> None:
    project = mlrun.new_project("p", context=tmp_path / "p", parameters={"rows": 7})
    project.log_artifact("notes", body="all is well", tag="final")

    def reads(context: Any) -> list[Any]:
        text = context.get_artifact("notes", tag="final").get(encoding="utf-8")
        return [text, context.get_project_param("rows"), context.get_project_param("no", 1)]

    assert start(reads).results["return"] == ["all is well", 7, 1]


def test_models_are_logged_by_the_orchestrators_names(
    start: Callable[..., RunView], tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")

    def logs(context: Any) -> None:
        context.log_model("beside", body=b"xx", model_file="m.bin", parameters={"a": 1}, tag="best")
        context.log_model("lies", model_dir=str(tmp_path), model_file="model.bin", algorithm="tree")

    view = start(logs)
    assert view.artifact("beside").get() == b"xx"
    assert view.artifact("lies").get() == b"weights"
    assert view.artifact("beside").aliases == ["best", "latest"]
    assert view.artifact("beside").meta["params"] == {"a": 1}


@pytest.mark.parametrize("name", ["store://datasets/p/made", "store://artifacts/p/made:latest"])
def test_the_orchestrators_artifact_uris_are_understood(
    start: Callable[..., RunView], name: str
) -> None:
    def makes() -> pl.DataFrame:
        return pl.DataFrame({"a": [1, 2]})

    def reads(df: pl.DataFrame) -> int:
        return df.height

    start(makes, returns=["made"])
    assert start(reads, inputs={"df": name}).results["return"] == 2
