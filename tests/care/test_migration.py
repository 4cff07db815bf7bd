from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.care.migration import migrate, part_versions
from mlrun.errors import StoreVersionError
from mlrun.registry import storage_class
from mlrun.storage import postgres_schema, sqlite_schema
from mlrun.store import open_store
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from mlrun.testing.postgres import PostgresServer

# what version 1 of each did not have; the tables of today, less these, are those of then
_GATEWAY = ["api_keys", "users", "roles", "audit"]
_KEPT = ["views", "policies", "expirations", "project_secrets", "leases"]
_LATER = {
    "sqlite": ["functions", "function_tags", "schedules", *_GATEWAY, *_KEPT],
    "postgresql": [*_GATEWAY, *_KEPT],
}


def old_records(url: str) -> None:
    """Turn records into those of version 1."""
    kind = url.partition(":")[0]
    with closing(storage_class(url)(url)) as records:
        if kind == "sqlite":
            with records._lend() as connection:
                for table in _LATER[kind]:
                    connection.execute(f"drop table {table}")
                connection.execute("alter table projects drop column spec")
                connection.execute("alter table marks drop column moved_at")
                connection.execute("pragma user_version=1")
        else:
            with records._pool.transaction(write=True) as connection:
                for table in _LATER[kind]:
                    connection.execute(f"drop table {table}")
                connection.execute("alter table marks drop column moved_at")
                connection.execute("update version set number = 1")


def one_run() -> str:
    with mlrun.init(project="p", name="a", config={"lr": 0.1}) as run:
        run.log({"loss": 1.0})
    store = open_store()
    store.flush_records()
    store.close()
    return str(run.id)


def test_the_embedded_store_is_migrated_from_version_1_after_a_backup() -> None:
    run_id = one_run()
    store = open_store()
    old_records(store.part_url("records"))
    (found,) = [p for p in part_versions(store) if p.part == "records"]
    assert (found.stored, found.current, found.backup) == (1, sqlite_schema.VERSION, "")
    assert [p.part for p in migrate(store)] == ["records"]
    assert migrate(store) == []
    assert mlrun.runs("p")["run_id"].to_list() == [run_id]
    assert (store.folder / "mlrun.db.v1.bak").exists()


def test_a_store_that_is_not_made_yet_has_nothing_to_migrate(own_folder: Path) -> None:
    store = open_store()
    assert [(p.part, p.stored) for p in part_versions(store)] == [("records", 0)]
    assert migrate(store) == []
    assert not (own_folder / ".mlrun").exists()


def test_a_newer_store_is_refused_and_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    one_run()
    store = open_store()
    monkeypatch.setattr(sqlite_schema, "VERSION", 1)
    with pytest.raises(StoreVersionError, match="pip install -U mlrun-arrow"):
        migrate(store)


@pytest.fixture
def pg_store(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLRUN_RECORDS_URL", postgres_url)
    return open_store()


def backed_up(command: str, server: PostgresServer) -> Path:
    """Run the command that the store names, with the tools of the server of the tests."""
    words = shlex.split(command)
    subprocess.run([server.tool(words[0]), *words[1:]], check=True, capture_output=True)
    return Path(next(w for w in words if w.startswith("--file=")).removeprefix("--file="))


@pytest.mark.postgres
def test_postgres_waits_for_a_backup_and_its_command_makes_one_that_restores(
    pg_store: Any, postgres: PostgresServer, postgres_url: str
) -> None:
    run_id = one_run()
    old_records(postgres_url)
    with pytest.raises(StoreVersionError, match="mlrun server migrate"):
        mlrun.runs("p")
    with pytest.raises(StoreVersionError, match="pg_dump") as told:
        migrate(pg_store)
    dump = backed_up(str(told.value).split("`")[1], postgres)
    assert [(p.part, p.stored) for p in migrate(pg_store, backed_up=True)] == [("records", 1)]
    assert mlrun.runs("p")["run_id"].to_list() == [run_id]
    pg_store.close()

    again = postgres.database()
    restore = [postgres.tool("pg_restore"), f"--dbname={again}", os.fspath(dump)]
    subprocess.run(restore, check=True, capture_output=True)
    with closing(storage_class(again)(again)) as records:
        assert records.versions() == (1, postgres_schema.VERSION)
        records.migrate()
        assert [r["run_id"] for r in records.lookup(RUNS, {})] == [run_id]
    postgres.drop(again)


@pytest.mark.postgres
def test_a_password_is_in_no_command(pg_store: Any) -> None:
    url = "postgresql://me:hunter2@localhost:5432/team"
    with closing(storage_class(url)(url)) as records:
        assert "hunter2" not in records.backup_command()
        assert "--schema=mlrun" in records.backup_command()
