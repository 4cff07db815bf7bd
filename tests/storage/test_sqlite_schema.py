"""Making, refusing, migrating, checking and salvaging files; loading in bulk."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from mlrun.contracts import Mark
from mlrun.errors import ConfigError, CorruptStore, StoreError, StoreVersionError
from mlrun.registry import storage_class
from mlrun.storage import sqlite_schema
from mlrun.tables import (
    ARTIFACTS,
    FUNCTION_TAGS,
    FUNCTIONS,
    PARAMS,
    PROJECTS,
    ROLES,
    RUNS,
    SUMMARIES,
    TAGS,
    VIEWS,
)
from mlrun.testing.records_ops import RECORDS, artifact_op, rows_of, run_put, sample, value_put

if TYPE_CHECKING:
    from pathlib import Path

NOW = sqlite_schema.VERSION
FROM_2 = ("api_keys", "users", "roles", "audit")
FROM_3 = ("views", "policies", "expirations", "project_secrets", "leases")


def opened(path: Path) -> Any:
    return storage_class("sqlite:")(f"sqlite:///{path}")


def made(path: Path, runs: int = 1200) -> Any:
    store = opened(path)
    store.create()
    puts = [value_put("params", f"r{r:04d}", k, f"{k}-{r}") for r in range(runs) for k in "abc"]
    store.apply(
        [
            *(run_put(f"r{r:04d}", labels='{"team": "cv"}') for r in range(runs)),
            *puts,
            artifact_op(),
        ],
        summaries=[(f"r{r:04d}", "x", 1.0, 1.0, 1.0, 1.0, 1, 0, 0, 0, 0, 0) for r in range(runs)],
        marks={"w": Mark(1, 2, 3, 4)},
    )
    return store


@pytest.mark.parametrize(
    "url",
    ["sqlite:", "sqlite://", "sqlite:mlrun.db", "file:///x", "sqlite:////x\0?journal_mode=off"],
)
def test_urls_that_mean_nothing(url: str) -> None:
    with pytest.raises((ConfigError, ValueError)):
        storage_class("sqlite:")(url).create()


def test_nothing_is_read_before_it_is_made(tmp_path: Path) -> None:
    store = opened(tmp_path / "mlrun.db")
    with pytest.raises(StoreError, match="create"):
        store.marks()
    assert not (tmp_path / "mlrun.db").exists()
    assert [f.severity for f in store.check()] == ["note"]


def test_files_are_the_owner_s_only(tmp_path: Path) -> None:
    with closing(made(tmp_path / "new" / "mlrun.db", 1)):
        modes = {stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "new").iterdir()}
    assert modes == {0o600}


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlrun.db"
    made(path, 1).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma user_version=99")
    store = opened(path)
    for call in (store.create, store.marks, store.read().__enter__, lambda: store.apply([])):
        with pytest.raises(StoreVersionError, match="99"):
            call()


def test_tables_that_appear_between_two_questions_are_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlrun.db"
    check, asked = sqlite_schema._refuse_foreign, []

    class Meanwhile:
        """A connection: after its first answer another process has made the tables."""

        def __init__(self, connection: Any) -> None:
            self.connection = connection

        def rows(self, sql: str) -> Any:
            answer = self.connection.rows(sql)
            asked.append(sql)
            if len(asked) == 1:
                monkeypatch.setattr(sqlite_schema, "_refuse_foreign", check)
                made(path, 1).close()
            return answer

    monkeypatch.setattr(sqlite_schema, "_refuse_foreign", lambda c, path: check(Meanwhile(c), path))
    opened(path).create()
    assert len(asked) == 2
    assert len(rows_of(opened(path), RUNS)) == 1


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlrun.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table theirs (x)")
    with pytest.raises(StoreError, match="something else"):
        opened(path).create()
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(CorruptStore):
        opened(path).create()
    assert [f.severity for f in opened(path).check(repair=True)] == ["lost"]


def test_an_older_file_is_backed_up_and_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlrun.db"
    with closing(made(path, 3)) as old:
        before = rows_of(old, PARAMS)

    def step(connection: Any) -> None:
        connection.execute("create table extra (x integer)")

    monkeypatch.setattr(sqlite_schema, "VERSION", NOW + 1)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", {NOW: step})
    with closing(opened(path)) as store:
        with pytest.raises(StoreVersionError, match=f"version {NOW}"):
            store.marks()
        store.create()
        store.create()
        assert rows_of(store, PARAMS) == before
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from extra").fetchone() == (0,)
    monkeypatch.undo()
    with closing(opened(tmp_path / f"mlrun.db.v{NOW}.bak")) as backup:
        assert rows_of(backup, PARAMS) == before


def test_a_file_of_version_1_gets_functions_and_keeps_its_projects(tmp_path: Path) -> None:
    path = tmp_path / "mlrun.db"
    with closing(made(path, 2)) as old:
        old.apply([("put", "projects", {"name": "p", "description": "d"})])
    with closing(sqlite3.connect(path)) as db:
        for statement in (
            "drop table functions",
            "drop table function_tags",
            "drop table schedules",
            "alter table projects drop column spec",
            *(f"drop table {name}" for name in (*FROM_2, *FROM_3)),
            "alter table marks drop column moved_at",
            "pragma user_version=1",
        ):
            db.execute(statement)
    with closing(opened(path)) as store:
        store.create()
        row = {"project": "p", "name": "f", "hash": "h", "spec": "{}", "created_at": 1}
        store.apply([("put", "functions", row)])
        assert rows_of(store, FUNCTIONS) == [row]
        assert rows_of(store, FUNCTION_TAGS) == []
        [project] = rows_of(store, PROJECTS)
        assert (project["description"], project["spec"]) == ("d", None)
        assert len(rows_of(store, RUNS)) == 2


def test_a_file_of_version_2_gets_keys_and_an_audit_log(tmp_path: Path) -> None:
    path = tmp_path / "mlrun.db"
    made(path, 2).close()
    with closing(sqlite3.connect(path)) as db:
        for name in (*FROM_2, *FROM_3):
            db.execute(f"drop table {name}")
        db.execute("alter table marks drop column moved_at")
        db.execute("pragma user_version=2")
    with closing(opened(path)) as store:
        store.create()
        row = {"user": "u", "project": "", "role": "admin", "updated_at": 1}
        store.apply([("put", "roles", row)])
        assert rows_of(store, ROLES) == [row]
        assert len(rows_of(store, RUNS)) == 2


def test_a_file_of_version_3_gets_views_and_keeps_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "mlrun.db"
    made(path, 2).close()
    with closing(sqlite3.connect(path)) as db:
        for name in FROM_3:
            db.execute(f"drop table {name}")
        db.execute("alter table marks drop column moved_at")
        db.execute("pragma user_version=3")
    with closing(opened(path)) as store:
        store.create()
        row = sample(VIEWS, 1)
        store.apply([("put", "views", row)])
        assert rows_of(store, VIEWS) == [row]
        assert store.marks() == {"w": Mark(1, 2, 3, 4)}
        assert store.check() == []


def test_a_failed_migration_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlrun.db"
    made(path, 3).close()

    def step(connection: Any) -> None:
        connection.execute("drop table tags")
        raise StoreError("power cut")

    monkeypatch.setattr(sqlite_schema, "VERSION", NOW + 1)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", {NOW: step})
    with pytest.raises(StoreError, match="power cut"):
        opened(path).create()
    monkeypatch.undo()
    with closing(opened(path)) as store:
        assert rows_of(store, TAGS) == []
        assert len(rows_of(store, RUNS)) == 3


def test_a_read_only_store_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlrun.db"
    made(path, 3).close()
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "access", lambda *_: False)
    with closing(opened(path)) as store:
        store.create()
        assert len(rows_of(store, RUNS)) == 3
        with pytest.raises(StoreError, match="readonly"):
            store.apply([run_put("x")])
    assert sorted(tmp_path.iterdir()) == before


def test_rows_of_absent_runs_are_noted(tmp_path: Path) -> None:
    with closing(made(tmp_path / "mlrun.db", 3)) as store:
        store.apply([("del", "runs", {"run_id": "r0001"})])
        found = {f.where: f.what for f in store.check()}
        assert set(found) == {"params", "summaries"}
        assert found["params"].startswith("3 rows")
        store.apply([("del", t, {"run_id": "r0001"}) for t in ("params", "summaries")])
        assert store.check() == []


def _damage(path: Path, table: str) -> None:
    """Overwrite a leaf page of a table in the middle."""
    with closing(sqlite3.connect(path)) as db:
        pages = db.execute(
            "select pageno from dbstat where name = ? and pagetype = 'leaf' order by path", (table,)
        ).fetchall()
        [(size,)] = db.execute("pragma page_size")
    with path.open("r+b") as file:
        file.seek((pages[len(pages) // 2][0] - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("table", ["params", "runs", "keys", "params_text", "summaries"])
def test_a_damaged_page_is_found_and_the_rest_saved(tmp_path: Path, table: str) -> None:
    path = tmp_path / "mlrun.db"
    with closing(made(path)) as store:
        before = {t.name: rows_of(store, t) for t in (RUNS, PARAMS, SUMMARIES, ARTIFACTS)}
    try:
        _damage(path, table)
    except sqlite3.OperationalError:
        pytest.skip("this SQLite cannot tell which page belongs to which table")
    with closing(opened(path)) as store:
        assert {f.severity for f in store.check()} == {"repairable"}
        findings = store.check(repair=True)
        assert findings[0].severity == "repaired"
        assert (tmp_path / "mlrun.db.damaged-1").exists()
        assert store.check() == []
        assert store.marks() == {"w": Mark(1, 2, 3, 4)}
        after = {t.name: rows_of(store, t) for t in (RUNS, PARAMS, SUMMARIES, ARTIFACTS)}
        assert [r["run_id"] for r in after["runs"]] == [r["run_id"] for r in before["runs"]]
        for name in {"runs", "params", "summaries", "artifacts"} - {table}:
            if table != "keys":
                assert after[name] == before[name]
            assert len(after[name]) == len(before[name])
        if table in before:
            lost = [r for r in before[table] if r not in after[table]]
            assert 0 < len(lost) < len(before[table])
            assert any(f.severity == "lost" for f in findings)
        store.apply([run_put("later")])


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mlrun.db"
    made(path).close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with closing(opened(path)) as store:
        assert {f.severity for f in store.check()} <= {"repairable", "lost"}
        assert store.check() != []


# -- load -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", RECORDS, ids=lambda t: t.name)
def test_loaded_rows_are_as_if_put(tmp_path: Path, table: Any) -> None:
    rows = [sample(table, n) for n in (5, 2, 9)]
    columns = {c.name: [r[c.name] for r in rows] for c in table.columns}
    with closing(opened(tmp_path / "a.db")) as loaded, closing(opened(tmp_path / "b.db")) as put:
        for store in (loaded, put):
            store.create()
            store.apply([("put", table.name, sample(table, 2))])
        loaded.load(table, pa.table(columns).cast(table.schema))
        put.apply([("put", table.name, r) for r in rows])
        assert rows_of(loaded, table) == rows_of(put, table)


def test_loading_decodes_values_and_labels(tmp_path: Path) -> None:
    values = ["1", '"a"', "NaN", None]
    with closing(opened(tmp_path / "mlrun.db")) as store:
        store.create()
        data = {"run_id": list("abc"), "key": ["x"] * 3, "value": values[:3], "type": ["t"] * 3}
        store.load(PARAMS, pa.table(data))
        labels = ['{"n": 1}', "no json", None]
        store.load(RUNS, pa.table({"run_id": list("abc"), "project": ["p"] * 3, "labels": labels}))
        found = [(r["num"], r["text"]) for r in rows_of(store, PARAMS)]
        assert found == [(1.0, None), (None, "a"), (None, None)]
        from mlrun.contracts import RunQuery
        from mlrun.where import parse

        with store.read() as view:
            assert view.find(RunQuery(where=parse("labels.n = 1"))).to_pylist() == [{"run_id": "a"}]


def test_a_large_load_builds_its_indexes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.storage import sqlite_load

    monkeypatch.setattr(sqlite_load, "_REBUILD", 10)
    with closing(made(tmp_path / "mlrun.db", 20)) as store:
        data = {"run_id": [f"n{n}" for n in range(500)], "project": ["p"] * 500}
        store.load(RUNS, pa.table(data))
        assert len(rows_of(store, RUNS)) == 520
        assert store.check() == []
    with closing(sqlite3.connect(tmp_path / "mlrun.db")) as db:
        names = {n for (n,) in db.execute("select name from sqlite_master where type = 'index'")}
    assert set(sqlite_schema.indexes(RUNS)) <= names
