"""`ray-job` keeps the law of executors, runs plain commands, and finds its jobs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlrun.errors import ExecutorError, JobError, NotFound
from mlrun.execution.law import CanReattach, Needs
from mlrun.registry import executor_class
from mlrun.testing import executor_calls as calls
from mlrun.testing.executors import ExecutorConformance, RunsConformance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.fixture
def make(ray_session: Any) -> Callable[[], Any]:
    kind: Callable[[], Any] = executor_class("ray-job")
    return kind


@pytest.fixture
def executor(make: Callable[[], Any]) -> Iterator[Any]:
    with make() as opened:
        yield opened


class TestCalls(ExecutorConformance):
    patience = 120.0
    calls_at_once = 3

    @pytest.fixture
    def make(self, ray_session: Any) -> Callable[[], Any]:
        kind: Callable[[], Any] = executor_class("ray-job")
        return kind


class TestRuns(RunsConformance):
    @pytest.fixture
    def make(self, ray_session: Any) -> Callable[[], Any]:
        kind: Callable[[], Any] = executor_class("ray-job")
        return kind


def test_a_command_runs_in_its_source_folder(executor: Any, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import os; print('here', os.environ['COLOUR'])\n")
    needs = Needs(source=str(tmp_path), env={"COLOUR": "blue"})
    job = executor.submit_command(["python", "script.py"], needs)
    assert job.result(120) is None
    assert job.status() == "completed"
    assert list(job.logs()) == ["here blue"]


def test_the_exit_code_of_a_command_is_its_error(executor: Any) -> None:
    job = executor.submit_command("echo before the end; exit 3")
    with pytest.raises(JobError, match="before the end"):
        job.result(120)
    assert job.status() == "error"


def test_another_executor_finds_a_job_by_its_id(make: Callable[[], Any]) -> None:
    first: Any = make()
    reattaches = isinstance(first, CanReattach)
    assert reattaches
    job = first.submit(calls.add, 20, 22)
    first.detach()
    with make() as second:
        found = second.job(job.id)
        assert found.result(120) == 42
        with pytest.raises(NotFound, match="mlrun-none"):
            second.job("mlrun-none")


def test_without_an_api_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = executor_class("ray-job")
    monkeypatch.setattr("mlrun.executors.ray_job.dashboard_url", lambda: "")
    with pytest.raises(ExecutorError, match="RAY_API_SERVER_ADDRESS"):
        kind().submit(calls.add, 1)
    with pytest.raises(ExecutorError, match=r"no Jobs API at http://127\.0\.0\.1:9"):
        kind("http://127.0.0.1:9").submit(calls.add, 1)
