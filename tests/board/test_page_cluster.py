from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.board import cluster_ray, cluster_runs, session

from .conftest import shown
from .rayserver import TOKEN, RayServer, job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayServer]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with RayServer() as server:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.url)
        yield server


def _choose(monkeypatch: pytest.MonkeyPatch, module: Any, row: int) -> None:
    """Have a row chosen in every table of a room: tests cannot click into one."""
    real = module.st.dataframe

    def chosen(*args: Any, **options: Any) -> Any:
        real(*args, **{k: v for k, v in options.items() if k != "on_select"})
        return {"selection": {"rows": [row]}}

    monkeypatch.setattr(module.st, "dataframe", chosen)


def test_without_a_cluster_the_page_says_how_to_name_one(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with mlrun.init(project="p"):
        page = opened("cluster")
    assert not page.exception
    assert "RAY_API_SERVER_ADDRESS" in shown(page)
    assert "No function runs or waits" in shown(page)


def test_nodes_jobs_and_what_waits_are_shown(opened: Callable[..., Any], ray: RayServer) -> None:
    ray.jobs.append(job(3, "RUNNING", entrypoint=HOSTILE, metadata={"mlrun/name": HOSTILE}))
    with mlrun.init(project="p"):
        pass
    page = opened("cluster")
    assert not page.exception
    assert [m.label for m in page.metric] == ["CPU", "memory", "object store"]
    nodes, jobs, waits = (frame.value for frame in page.dataframe)
    assert nodes["host"].to_list() == ["vm"]
    assert jobs["name"].to_list()[0] == HOSTILE
    assert waits["count"].to_list() == [3]
    assert not [m for m in page.markdown if "<img" in m.value]


def test_a_job_of_ray_is_stopped(
    opened: Callable[..., Any], ray: RayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlrun.init(project="p"):
        pass
    _choose(monkeypatch, cluster_ray, 1)
    page = opened("cluster")
    assert not page.exception
    page.button(key="_stop-raysubmit_1").click().run()
    assert "POST /api/jobs/raysubmit_1/stop" in ray.seen
    monkeypatch.setattr(session, "who", lambda: {"user": "vera", "roles": {"": "viewer"}})
    assert not opened("cluster").button
    monkeypatch.setattr(session, "who", lambda: {"user": "vera", "roles": {"p": "admin"}})
    page = opened("cluster")
    assert not page.dataframe
    assert "everybody's" in shown(page)


def test_a_cluster_that_does_not_answer_is_a_state_of_the_page(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    with mlrun.init(project="p"):
        pass
    page = opened("cluster")
    assert not page.exception
    assert "does not answer" in shown(page)


def test_a_run_that_goes_on_is_aborted_by_an_editor(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    _choose(monkeypatch, cluster_runs, 0)
    with mlrun.init(project="p", name=HOSTILE, kind="job") as run:
        page = opened("cluster")
        assert not page.exception
        assert page.dataframe[0].value["name"].to_list() == [HOSTILE]
        page.button(key=f"_abort-{run.id}").click().run()
        assert mlrun.get_run(run.id).state in ("aborting", "aborted")
        monkeypatch.setattr(session, "who", lambda: {"user": "vera", "roles": {"": "viewer"}})
        page = opened("cluster")
        assert [b.key for b in page.button] in (["_open_run"], [])
