from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlrun.app.board.rayapi import RayApi, ray_api
from mlrun.errors import AccessDenied, NotFound, StoreError

from .rayserver import TOKEN, RayServer, job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayServer]:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with RayServer() as server:
        yield server


def test_the_address_is_the_environments_and_http(
    ray: RayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ray_api() is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert ray_api() is None
    monkeypatch.setenv("RAY_ADDRESS", ray.url)
    found = ray_api()
    assert found is not None
    assert found.address == ray.url
    assert "secret" not in RayApi("http://me:secret@ray:8265").address


def test_nodes_load_and_jobs_are_told(ray: RayServer) -> None:
    api = RayApi(ray.url + "/")
    columns = ("host", "state", "head", "cpus", "cpu_percent", "workers")
    assert api.nodes().select(columns).rows() == [("vm", "alive", True, 2.0, 50.0, 2)]
    used, waits = api.load()
    assert used.rows() == [
        ("CPU", 2.0, 2.0),
        ("memory", 1e9, 2e10),
        ("objectStoreMemory", 0.0, 2e8),
    ]
    assert waits.rows() == [("2 CPU, 1 GPU", 3)]
    jobs = api.jobs()
    assert jobs.select("job", "name", "state", "stoppable").rows() == [
        ("raysubmit_2", "job 2", "pending", True),
        ("raysubmit_1", "job 1", "running", True),
        ("01000000", "", "running", False),
    ]
    assert str(jobs["started"][0]).startswith("2026-11-21")


def test_a_job_is_stopped_by_its_id_whatever_that_holds(ray: RayServer) -> None:
    api = RayApi(ray.url)
    api.stop("raysubmit_1")
    assert ray.jobs[1]["status"] == "STOPPED"
    with pytest.raises(NotFound):
        api.stop("../../nodes?x=")
    assert ray.seen[-1] == "POST /api/jobs/..%2F..%2Fnodes%3Fx%3D/stop"


def test_credentials_in_a_command_are_hidden(ray: RayServer) -> None:
    ray.jobs = [job(1, "RUNNING", entrypoint="train --api-key sk-123456789012345678901234")]
    assert "sk-1234" not in RayApi(ray.url).jobs()["command"][0]


def test_a_token_may_lie_in_a_file_and_a_wrong_one_is_told(
    ray: RayServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(AccessDenied, match="token"):
        RayApi(ray.url).jobs()
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert RayApi(ray.url).jobs().height == 3


@pytest.mark.parametrize("body", [b"<html>", b"[1", b"\xff"])
def test_what_is_not_ray_is_told(ray: RayServer, body: bytes) -> None:
    ray.broken = body
    with pytest.raises(StoreError, match="not Ray"):
        RayApi(ray.url).nodes()


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'[1, {"metadata": 3}]', b'{"data": [2]}'])
def test_answers_of_another_form_are_empty(ray: RayServer, body: bytes) -> None:
    ray.broken = body
    api = RayApi(ray.url)
    assert api.nodes().is_empty()
    assert [frame.height for frame in api.load()] == [0, 0]
    assert api.jobs().height <= 1


def test_nobody_is_followed_elsewhere_with_the_token(ray: RayServer) -> None:
    ray.moved = f"{ray.url}/stolen"
    with pytest.raises(StoreError, match="302"):
        RayApi(ray.url).jobs()
    assert len(ray.seen) == 1


def test_a_cluster_that_is_gone_is_told() -> None:
    with pytest.raises(StoreError, match="does not answer"):
        RayApi("http://127.0.0.1:9").nodes()


def test_times_and_numbers_of_any_size_are_taken(ray: RayServer) -> None:
    odd: list[Any] = [0, -1, 1e300, "x", None, True]
    ray.jobs = [job(i, "RUNNING", start_time=value) for i, value in enumerate(odd)]
    assert RayApi(ray.url).jobs()["started"].null_count() == len(odd)
