"""Schedules whose clock Kubernetes keeps, against the test API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("kubernetes")

import mlrun
from mlrun.errors import ConfigError
from mlrun.execution import places
from mlrun.functions.making import new_function
from mlrun.testing.kubeapi import KubeAPI
from mlrun.workflows.schedule import (
    Schedule,
    delete_schedule,
    list_schedules,
    put_schedule,
    schedules_of,
)
from mlrun.workflows.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeAPI]:
    with KubeAPI() as server:
        monkeypatch.setenv("MLRUN_KUBE_KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setenv("MLRUN_KUBE_IMAGE", "any:1")
        monkeypatch.setenv("MLRUN_KUBE_SHARES_FILES", "1")
        monkeypatch.setattr(places, "_places", {})
        yield server
        for executor in places._places.values():
            executor.close()


def crons(server: KubeAPI) -> list[dict[str, Any]]:
    from mlrun.execution.places import place

    client: Any = place("kuberay")
    found: list[dict[str, Any]] = client._client.listed("raycronjobs", "")[0]
    return found


def job() -> Any:
    return new_function("job", project="p", handler=lambda x: x, kind="job")


def test_a_function_for_kubernetes_becomes_a_cron_job_there(server: KubeAPI) -> None:
    job().run(schedule="0 6 * * 1-5", executor="kuberay", params={"x": 1})
    (cron,) = crons(server)
    assert cron["spec"]["schedule"] == "0 6 * * mon,tue,wed,thu,fri"
    (schedule,) = schedules_of(mlrun.open_store())
    assert (schedule.place, schedule.name) == ("kuberay", "job")
    assert list_schedules(mlrun.open_store())["next_at"][0] is None
    keeper = Scheduler(mlrun.open_store())
    keeper._read(None)  # it has nothing for a clock of ours
    assert keeper._known == {}


def test_its_time_zone_goes_along_and_deleting_it_takes_the_cron_job_away(server: KubeAPI) -> None:
    made: Any = job().run(schedule="0 6 * * *", executor="kuberay", params={"x": 1})
    store = mlrun.open_store()
    zoned = Schedule("p", "job", "0 7 * * *", made.target, "Europe/Berlin", place="kuberay")
    put_schedule(store, zoned)
    (cron,) = crons(server)
    assert (cron["spec"]["schedule"], cron["spec"]["timeZone"]) == ("0 7 * * *", "Europe/Berlin")
    delete_schedule(store, "p", "job")
    assert crons(server) == []


def test_one_that_moves_to_our_scheduler_or_is_disabled_leaves_kubernetes(server: KubeAPI) -> None:
    made: Any = job().run(schedule="0 6 * * *", executor="kuberay", params={"x": 1})
    store = mlrun.open_store()
    put_schedule(store, Schedule("p", "job", "0 7 * * *", made.target))
    assert crons(server) == []
    put_schedule(store, Schedule("p", "job", "0 7 * * *", made.target, place="kuberay"))
    assert len(crons(server)) == 1
    put_schedule(
        store, Schedule("p", "job", "0 7 * * *", made.target, place="kuberay", enabled=False)
    )
    assert crons(server) == []


def test_a_workflow_is_not_for_kubernetes_clock(server: KubeAPI) -> None:
    target = {"kind": "workflow", "context": "/x", "workflow": "w"}
    with pytest.raises(ConfigError, match="mlrun scheduler"):
        put_schedule(mlrun.open_store(), Schedule("p", "w", "0 6 * * *", target, place="kuberay"))
    assert list_schedules(mlrun.open_store()).is_empty()
