"""Every test and every documented example runs in a folder of its own, with default settings."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlrun.testing.clickhouse import ClickHouseServer
    from mlrun.testing.postgres import PostgresServer
    from mlrun.testing.s3 import S3Server

# A slow machine is no failure: examples are counted, not timed.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


# Left to `make soak`: what costs most, and is shown beside each change by another engine or executor.
_SOAK = re.compile(
    "|".join([
        # many processes cost seconds of imports each: they are started over files, where most users are
        r"(TestClickHouse|TestDeltaOnS3|TestPostgreSQL)::test_(processes_|two_processes_race_for_the_same_segments)",
        # in a bucket Delta has other commits, and the same rows
        r"TestDeltaOnS3::test_(a_killed_append|compaction_|every_table_round_trips|filter)",
        r"TestS3::test_threads",
        # with `ray-job` every call is a process that imports Ray: here is what it does in a way of its own
        r"test_ray_job\.py::TestCalls::test_(?!a_call_gives_its_value|cancel_ends_native_code|logs_follow)",
        r"test_ray_job\.py::TestRuns::test_(?!abort_ends_it|it_gives_what_it_gives)",
        # mixes whose engines are all in another mix that is asked
        r"test_every_question_has_the_answer_of_the_embedded_store\[sqlite",
        r"test_a_gateway_over_other_engines\[(?!.*clickhouse)",
        # one word over HTTP; all of them are told the store itself
        r"_over_http\.py::test_whatever_init_is_told_every_run_can_be_read\[(?!say7)",
    ])
)  # fmt: skip


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what is left to `make soak` besides the tests that say so themselves."""
    if _SOAK.search(item.nodeid):
        item.add_marker(pytest.mark.soak)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of an `xdist_group` in one process: xdist 3.8 writes the group where pytest 9.2 does not look."""
    for item in items:  # one server for all of them, in one process
        if item.get_closest_marker("s3") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("s3"))
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
    monkeypatch.setenv("MLRUN_CACHE", str(tmp_path / "cache"))
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


@pytest.fixture
def lend_postgres(postgres: PostgresServer) -> Iterator[Callable[[bool], str]]:
    """Lend databases without rows, with our tables or without, to one test that leaves no process behind."""
    lent: list[tuple[str, bool]] = []

    def lend(made: bool) -> str:
        lent.append((postgres.lend(made=made), made))
        return lent[-1][0]

    yield lend
    for url, made in lent:
        postgres.give_back(url, made=made)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Start one S3 server for all tests of this process; mark them `s3`."""
    from mlrun.testing.s3 import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[S3Server]:
    """Give the server without the faults that the last test asked for."""
    s3_server.calm()
    yield s3_server
    s3_server.calm()


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[str]:
    """Make a bucket for one test."""
    name = s3.bucket()
    yield name
    s3.drop(name)


@pytest.fixture
def s3_url(s3: S3Server, bucket: str) -> str:
    """Return the URL of a folder in a bucket of its own."""
    return s3.url(bucket, "some/folder")


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouseServer]:
    """Start one ClickHouse for all tests of this process; mark them `clickhouse`, and `xdist_group("clickhouse")`."""
    from mlrun.testing.clickhouse import ClickHouseServer

    with ClickHouseServer() as server:
        yield server


@pytest.fixture
def clickhouse_url(clickhouse: ClickHouseServer) -> Iterator[str]:
    """Name a database for one test."""
    url = clickhouse.database()
    yield url
    clickhouse.drop(url)


@pytest.fixture(
    params=[
        "delta",
        pytest.param(
            "clickhouse", marks=[pytest.mark.clickhouse, pytest.mark.xdist_group("clickhouse")]
        ),
    ]
)
def series_url(
    request: pytest.FixtureRequest, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Let a test run once with points in files, once with points in ClickHouse, wherever its stores are."""
    if request.param == "delta":
        return f"delta://{own_folder}/series"
    url = str(request.getfixturevalue("clickhouse_url"))
    monkeypatch.setenv("MLRUN_SERIES_URL", url)
    return url
