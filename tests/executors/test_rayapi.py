"""The dashboard's client of Ray's API reads what a real Ray answers."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import pytest

from mlrun.registry import executor_class

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]


def test_nodes_load_and_a_job_that_is_stopped(ray_session: Any) -> None:
    api = import_module("mlrun.app.board.rayapi").RayApi(
        import_module("mlrun.executors.ray_start").dashboard_url()
    )
    assert api.nodes().select("state", "head", "cpus").rows() == [("alive", True, 2.0)]
    used, waits = api.load()
    assert "CPU" in used["resource"].to_list()
    assert waits.columns == ["wants", "count"]
    with executor_class("ray-job")() as executor:
        job = executor.submit_command("sleep 300")
        mine = api.jobs().row(by_predicate=_is(job.id), named=True)
        assert mine["stoppable"]
        assert mine["command"]
        api.stop(job.id)
        until = time.monotonic() + 120
        while api.jobs().row(by_predicate=_is(job.id), named=True)["stoppable"]:
            assert time.monotonic() < until
            time.sleep(0.1)


def _is(job: str) -> Any:
    import polars as pl

    return pl.col("job") == job
