"""A gateway that nobody has made a key for: who is let in, and what is refused."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import mlrun
from mlrun.errors import NotSignedIn
from mlrun.statefolder import token_file
from mlrun.store import open_store
from mlrun.testing.gatewayserver import GatewayServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("MLRUN_API_KEY")
    with mlrun.init(project="p", name="a", store=tmp_path / "s") as run:
        run.log({"loss": 1.0})
    with GatewayServer(
        tmp_path / "s", "--no-flight", state=state_folder, answer_processes=0
    ) as running:
        yield running


def call(url: str, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    kind = answer.headers.get("content-type", "")
    return answer.status, json.loads(body) if "json" in kind else {}


def test_programs_of_this_user_are_let_in_by_a_token_that_only_they_can_read(server: Any) -> None:
    assert mlrun.runs(store=server.url)["name"].to_list() == ["a"]
    port = int(server.url.rpartition(":")[2])
    assert stat.S_IMODE(token_file(port).stat().st_mode) == 0o600
    status, problem = call(server.url, "/api/v1/runs")
    assert (status, problem["error"]) == (401, "NotSignedIn")
    assert call(server.url, "/api/v1/runs", Authorization="Bearer no")[0] == 401
    assert call(server.url, "/healthz")[0] == 200
    assert call(server.url, "/readyz")[0] == 200


def test_a_restarted_gateway_has_another_token_and_clients_find_it(server: Any) -> None:
    store = open_store(server.url)
    assert mlrun.runs(store=store).height == 1
    before = server.token
    server.restart()
    assert server.token != before
    assert mlrun.runs(store=store).height == 1


def test_a_token_that_others_may_read_is_not_taken(server: Any) -> None:
    port = int(server.url.rpartition(":")[2])
    token_file(port).chmod(0o644)
    with pytest.raises(NotSignedIn):
        mlrun.runs(store=server.url)


def test_names_and_pages_of_other_sites_are_refused(server: Any) -> None:
    key = f"Bearer {server.token}"
    for host in ("evil.example", "evil.example:3001", "127.0.0.1.evil.example", "[", ""):
        assert call(server.url, "/api/v1/projects", Host=host, Authorization=key)[0] in (400, 403)
    own = server.url.removeprefix("http://")
    for origin, status in (
        (server.url, 200),
        (f"https://{own}", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ):
        got = call(server.url, "/api/v1/projects", Origin=origin, Authorization=key)[0]
        assert got == status, origin


def test_a_stop_leaves_no_token_and_ends_well(server: Any) -> None:
    port = int(server.url.rpartition(":")[2])
    assert server.stop() == 0
    assert not token_file(port).exists()


def test_an_address_that_others_reach_is_refused_until_there_is_a_key(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "mlrun.cli", "--store", str(tmp_path / "s")]
    words = ["server", "--host", "0.0.0.0", "--port", "0", "--no-flight"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLRUN_")}
    done = subprocess.run(
        [*command, *words], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "mlrun keys create" in done.stderr
    made = subprocess.run(
        [*command, "keys", "create", "ann", "--role", "viewer"],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = made.stdout.strip()
    assert key not in (tmp_path / "s" / "mlrun.db").read_bytes().decode("latin-1")
    with GatewayServer(tmp_path / "s", "--host", "0.0.0.0", "--no-flight") as server:
        assert server.token == ""
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert call(url, "/api/v1/projects")[0] == 401
        assert call(url, "/api/v1/projects", Authorization=f"Bearer {key}")[0] == 200
        assert key not in server.log.read_text()
