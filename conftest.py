"""Every test and every documented example runs in a folder of its own, with default settings."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlrun.testing.postgres import PostgresServer

# A slow machine is no failure: examples are counted, not timed.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of an `xdist_group` in one process: xdist 3.8 writes the group where pytest 9.2 does not look."""
    for item in items if getattr(config.option, "loadgroup", False) else ():
        mark = item.get_closest_marker("xdist_group")
        if mark is not None and not item.nodeid.endswith(suffix := f"@{mark.args[0]}"):
            item._id = type(item._id).parse(item.nodeid + suffix)


@pytest.fixture(autouse=True)
def own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """Leave no `.mlrun/` in the repository and nothing open, and let no setting of the machine leak in."""
    if "ray" in sys.modules and request.node.get_closest_marker("ray") is None:
        # the session that other tests of this process share is not where these run by default
        monkeypatch.setattr("mlrun.execution.places._has_ray", lambda: False)
    for name in [n for n in os.environ if n.startswith("MLRUN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLRUN_QUIET", "1")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if "mlrun.tracking.lifecycle" in sys.modules:
        sys.modules["mlrun.tracking.lifecycle"].end_all()
    if "mlrun.project.active" in sys.modules:
        sys.modules["mlrun.project.active"].set_active(None)
    if "mlrun.store" in sys.modules:
        sys.modules["mlrun.store"].close_all()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start one PostgreSQL for all tests of this process; mark them `postgres`."""
    from mlrun.testing.postgres import PostgresServer

    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """Make a database for one test."""
    url = postgres.database()
    yield url
    postgres.drop(url)
