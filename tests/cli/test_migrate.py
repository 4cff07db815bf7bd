from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.registry import storage_class
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.postgres


def old_database(url: str) -> None:
    """Make a database of version 1."""
    with mlrun.init(project="p", name="a") as run:
        run.log({"loss": 1.0})
    store = open_store()
    store.flush_records()
    store.close()
    with closing(storage_class(url)(url)) as records, records._pool.transaction(write=True) as on:
        gateway = ("api_keys", "users", "roles", "audit")
        for table in (*gateway, "views", "policies", "expirations", "project_secrets", "leases"):
            on.execute(f"drop table {table}")
        on.execute("alter table marks drop column moved_at")
        on.execute("update version set number = 1")


def test_a_server_is_migrated_once_there_is_a_backup(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    monkeypatch.setenv("MLRUN_RECORDS_URL", postgres_url)
    old_database(postgres_url)
    refused = cli("runs", store=None)
    assert refused.code != 0
    assert "mlrun server migrate" in refused.err
    refused = cli("server", "migrate", store=None)
    assert refused.code != 0
    assert "pg_dump --format=custom --schema=mlrun" in refused.err
    done = cli("server", "migrate", "--backed-up", "--json", store=None)
    assert done.code == 0
    assert [r["part"] for r in json.loads(done.out)] == ["records"]
    assert cli("runs", "--json", store=None).code == 0
    again = cli("server", "--records", postgres_url, "migrate", "--json", store=None)
    assert (again.code, again.out) == (0, done.out)
