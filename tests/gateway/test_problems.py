"""What callers are told of a store that fails: what happened, and nothing of the gateway's disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import mlrun
from mlrun.store import open_store
from mlrun.wire import API
from tests.gateway.conftest import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.testing.gatewaythread import GatewayThread


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize("path", ["runs", "functions", "projects", "runs/a"])
def test_a_store_that_fails_tells_callers_no_path(
    serve: Callable[..., GatewayThread],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    processes: int,
    path: str,
) -> None:
    with mlrun.init("p", "a") as run:
        run.log({"loss": 1.0})
    thread = serve(answer_processes=processes)
    folder = open_store().folder
    for database in folder.glob("mlrun.db*"):
        database.write_bytes(b"no database at all" * 4096)
    found = _problem(f"{thread.url}{API}/{path}")
    assert found["status"] >= 500
    assert str(tmp_path) not in json.dumps(found)
    assert str(folder) not in json.dumps(found)
    assert str(folder) in caplog.text


def _problem(url: str) -> dict[str, Any]:
    asked = Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with pytest.raises(HTTPError) as raised:
        urlopen(asked, timeout=30)
    with raised.value as answer:
        told: dict[str, Any] = json.loads(answer.read())
    return told
