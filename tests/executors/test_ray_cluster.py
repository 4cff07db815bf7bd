"""`ray` keeps the law of executors, and what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlrun.registry import executor_class
from mlrun.testing.executors import (
    ExecutorConformance,
    MemoryConformance,
    RunsConformance,
    ValuesConformance,
)
from mlrun.testing.raysession import STORE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


class OnRay:
    @pytest.fixture
    def make(self, ray_session: Any) -> Callable[[], Any]:
        kind: Callable[[], Any] = executor_class("ray")
        return kind


class TestCalls(OnRay, ExecutorConformance):
    pass


class TestValues(OnRay, ValuesConformance):
    pass


class TestMemory(OnRay, MemoryConformance):
    store_bytes = STORE_BYTES


class TestRuns(OnRay, RunsConformance):
    pass


def test_it_listens_on_this_host_alone_and_behind_a_token(ray_session: Any) -> None:
    import os
    import stat
    from pathlib import Path

    import psutil

    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    children = [psutil.Process(), *psutil.Process().children(recursive=True)]
    heard = {
        c.laddr.ip
        for process in children
        for c in process.net_connections()
        if c.status == psutil.CONN_LISTEN
    }
    assert heard <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_the_jobs_api_wants_the_token(ray_session: Any) -> None:
    import urllib.error
    import urllib.request

    from mlrun.executors.ray_start import dashboard_url

    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{dashboard_url()}/api/jobs/")


def test_a_table_is_stored_once_for_all_its_calls(ray_session: Any) -> None:
    import gc

    import polars as pl

    with executor_class("ray")() as executor:
        frame = pl.DataFrame({"x": range(50_000)})
        jobs = [executor.submit(len, frame) for _ in range(4)]
        assert [job.result(60) for job in jobs] == [50_000] * 4
        assert len(executor._shared) == 1
        del frame, jobs
        gc.collect()
        assert len(executor._shared) == 0


def test_addresses_that_are_no_cluster_say_what_to_take() -> None:
    from mlrun.errors import ExecutorError
    from mlrun.executors.ray_start import _join

    with pytest.raises(ExecutorError, match="ray-job"):
        _join("http://127.0.0.1:8265")
    with pytest.raises(ExecutorError, match="shares no memory"):
        _join("ray://127.0.0.1:10001")
