from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from mlrun.contracts import Mark, RunQuery
from mlrun.errors import SchemaMismatch, StoreError, StoreVersionError
from mlrun.ids import now_us
from mlrun.registry import storage_class
from mlrun.storage import postgres_schema
from mlrun.storage.postgres_find import find
from mlrun.tables import PARAMS, ROLES, RUNS, SUMMARIES, VIEWS
from mlrun.testing.postgres import PostgresServer
from mlrun.testing.records import RecordsConformance
from mlrun.testing.records_ops import rows_of, run_put, sample, value_put
from mlrun.where import parse, parse_order
from mlrun.where.ast import Compare, Literal_, Name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(lend_postgres: Callable[[bool], str]) -> str:
    return lend_postgres(False)


@pytest.fixture
def records(url: str) -> Iterator[Any]:
    with closing(storage_class(url)(url)) as store:
        store.create()
        yield store


class TestPostgreSQL(RecordsConformance):
    @pytest.fixture
    def url(self, lend_postgres: Callable[[bool], str], request: pytest.FixtureRequest) -> str:
        return lend_postgres("records" in request.fixturenames)


# -- what only a server can do --------------------------------------------------------------------


def test_it_goes_on_after_the_server_was_restarted() -> None:
    with (
        PostgresServer() as server,  # its own: other tests' sessions would be ended too
        closing(storage_class("postgresql:")(server.database())) as records,
    ):
        records.create()
        records.apply([run_put("a")])
        with records.read():
            records.marks()  # two connections are idle now
        server.restart()
        records.apply([run_put("b")])
        assert [r["run_id"] for r in rows_of(records, RUNS)] == ["a", "b"]


def test_a_session_that_is_ended_in_the_middle_writes_nothing(records: Any) -> None:
    def write() -> None:
        with records._pool.transaction(write=True) as connection:
            connection.execute("insert into runs (run_id, present) values ('x', true)")
            connection.execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(StoreError, match=r"terminating connection|server closed"):
        write()
    assert rows_of(records, RUNS) == []
    records.apply([run_put("a")])


def test_a_forked_child_leaves_the_connections_of_its_parent_alone(records: Any) -> None:
    records.apply([run_put("a")])
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            records.apply([run_put("b")])
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [r["run_id"] for r in rows_of(records, RUNS)] == ["a", "b"]


def test_absorbers_in_several_processes_apply_every_part_once(records: Any, url: str) -> None:
    command = [sys.executable, "-c", ABSORBER, url]
    children = [subprocess.Popen(command) for _ in range(4)]
    assert [child.wait(120) for child in children] == [0] * 4
    [row] = records.lookup(SUMMARIES, {"run_id": "r"})
    assert (row["count"], row["sum"]) == (60, 60.0)
    assert records.marks() == {"w": Mark(row=60)}


ABSORBER = """
import sys
from mlrun.contracts import Mark
from mlrun.errors import MarkConflict
from mlrun.registry import storage_class
store = storage_class(sys.argv[1])(sys.argv[1])
while (mark := store.marks().get("w", Mark())).row < 60:
    n = mark.row
    part = ("r", f"x", 1.0, 1.0, 1.0, 1.0, 1, 0, n, n, n, n)
    try:
        store.apply([], summaries=[part], expected={"w": mark}, marks={"w": Mark(row=n + 1)})
    except MarkConflict:
        pass
"""


NOW = postgres_schema.VERSION
FROM_2 = ("views", "policies", "expirations", "project_secrets", "leases")


# -- versions -------------------------------------------------------------------------------------


def test_an_older_database_is_migrated_and_a_newer_one_refused(
    records: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.apply([run_put("a")])
    monkeypatch.setattr(postgres_schema, "VERSION", NOW + 1)
    with pytest.raises(StoreVersionError, match=f"version {NOW}, not {NOW + 1}"):
        rows_of(records, RUNS)
    steps = {NOW: lambda connection: connection.execute("alter table runs add column colour text")}
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", steps)
    with pytest.raises(StoreVersionError, match="mlrun server migrate"):
        records.create()
    assert records.versions() == (NOW, NOW + 1)
    records.migrate()
    records.migrate()
    assert records.versions() == (NOW + 1, NOW + 1)
    assert [r["run_id"] for r in rows_of(records, RUNS)] == ["a"]
    monkeypatch.setattr(postgres_schema, "VERSION", NOW)
    for call in (
        records.create,
        records.migrate,
        records.marks,
        lambda: records.apply([run_put("b")]),
    ):
        with pytest.raises(StoreVersionError, match="pip install -U mlrun-arrow"):
            call()


def test_a_database_of_version_1_gets_keys_and_an_audit_log(records: Any) -> None:
    records.apply([run_put("a")])
    with records._pool.transaction(write=True) as connection:
        for table in ("api_keys", "users", "roles", "audit", *FROM_2):
            connection.execute(f"drop table {table}")
        connection.execute("alter table marks drop column moved_at")
        connection.execute("update version set number = 1")
    records.migrate()
    row = {"user": "u", "project": "", "role": "admin", "updated_at": 1}
    records.apply([("put", "roles", row)])
    assert rows_of(records, ROLES) == [row]
    assert [r["run_id"] for r in rows_of(records, RUNS)] == ["a"]


def test_a_database_of_version_2_gets_views_and_keeps_its_marks(records: Any) -> None:
    records.apply([run_put("a")], marks={"w": Mark(1, 2, 3, 4)})
    with records._pool.transaction(write=True) as connection:
        for table in FROM_2:
            connection.execute(f"drop table {table}")
        connection.execute("alter table marks drop column moved_at")
        connection.execute("update version set number = 2")
    records.migrate()
    records.apply([("put", "views", sample(VIEWS, 1))])
    assert rows_of(records, VIEWS) == [sample(VIEWS, 1)]
    assert records.marks() == {"w": Mark(1, 2, 3, 4)}
    records.apply([], marks={"w": Mark(1, 2, 3, 5)})
    with records._pool.transaction() as connection:
        [(moved,)] = connection.rows("select moved_at from marks")
    assert abs(moved - now_us()) < 600_000_000


def test_a_migration_that_fails_changes_nothing(
    records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Any) -> None:
        connection.execute("alter table runs drop column name")
        connection.execute("select 1 / 0")

    with monkeypatch.context() as patch:
        patch.setattr(postgres_schema, "VERSION", NOW + 1)
        patch.setattr(postgres_schema, "MIGRATIONS", {NOW: fail})
        with pytest.raises(SchemaMismatch, match="division by zero"):
            records.migrate()
    records.apply([run_put("a", name="kept")])
    assert rows_of(records, RUNS)[0]["name"] == "kept"


def test_a_schema_of_somebody_else_is_left_alone(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with closing(storage_class(postgres_url)(postgres_url)) as records:
        with pytest.raises(StoreError, match=r"call create\(\)"):
            records.marks()
        with records._pool.transaction(write=True) as connection:
            connection.execute("create schema mlrun")
            connection.execute("create table mlrun.runs (mine int)")
        with pytest.raises(StoreError, match="holds something else"):
            records.create()


# -- values and indexes ---------------------------------------------------------------------------


def test_names_and_keys_longer_than_an_index_entry_are_unique_and_found(records: Any) -> None:
    long = "".join(chr(33 + n * 7919 % 90) for n in range(20_000))  # does not compress
    for end in ("a", "b", "a"):
        records.apply([run_put(long + end, name=long), value_put("params", long + end, long, long)])
    with records.read() as view:
        found = view.find(RunQuery(where=Compare("=", Name("run", "name"), Literal_(long, "text"))))
        other = view.find(
            RunQuery(where=Compare("<", Name("params", long), Literal_(long + "a", "text")))
        )
    assert found.column(0).to_pylist() == other.column(0).to_pylist() == [long + "b", long + "a"]


def test_many_rows_are_loaded_as_they_would_be_applied(records: Any) -> None:
    values = ["1", "NaN", "-Infinity", '"text"', '{"a":  1}', "1e400"]
    ids = [f"r{n:05d}" for n in range(60_000)]
    size = len(ids)
    runs = {"run_id": ids, "project": ["p"] * size, "labels": ['{"a": 1}'] * size}
    records.load(RUNS, pa.table(runs))
    cycle = [values[n % len(values)] for n in range(size)]
    given = {"run_id": ids, "key": ["x"] * size, "value": cycle, "type": ["t"] * size}
    records.load(PARAMS, pa.table(given))
    for number, value in enumerate(values):
        row = {"run_id": f"r{number:05d}", "key": "y", "value": value, "type": "t"}
        records.apply([("put", "params", row)])
        x, y = records.lookup(PARAMS, {"run_id": f"r{number:05d}"})
        assert {**x, "key": "y"} == y
        assert x["value"] == value
    with records.read() as view:
        assert view.find(RunQuery(where=parse("labels.a = 1"))).num_rows == 60_000
    assert records.check() == []


def test_a_lost_index_is_reported_and_made_again(records: Any) -> None:
    with records._pool.transaction(write=True) as connection:
        connection.execute("drop index summaries_last")
    [found] = records.check()
    assert (found.severity, found.where) == ("repairable", "summaries_last")
    assert [f.severity for f in records.check(repair=True)] == ["repaired"]
    assert records.check() == []


def test_the_indexes_serve_filters_and_orders(records: Any) -> None:
    size = 5_000
    ids = [f"r{n:05d}" for n in range(size)]
    states = ["a"] * (size - 10) + ["b"] * 10
    records.load(RUNS, pa.table({"run_id": ids, "project": ["p"] * size, "state": states}))
    values = [str(n) for n in range(size)]
    given = {"run_id": ids, "key": ["x"] * size, "value": values, "type": ["int"] * size}
    records.load(PARAMS, pa.table(given))
    plans = {
        "params.x = 7": ("", "params_num"),
        "state = 'b'": ("", "runs_state"),
        "state = 'a'": ("params.x", "params_num"),
    }
    for where, (order, index) in plans.items():
        asked: list[tuple[str, Any]] = []
        with records.read() as view:
            spy = Spy(view.connection, asked)
            keys = parse_order(order) if order else ()
            find(spy, RunQuery(project="p", where=parse(where), order_by=keys, limit=10))
            sql, values = next(q for q in asked if "from runs r" in q[0])
            plan = " ".join(line for (line,) in view.connection.rows(f"explain {sql}", values))
        assert index in plan, plan


class Spy:
    """Keeps what is asked of a connection."""

    def __init__(self, connection: Any, asked: list[tuple[str, Any]]) -> None:
        self._connection, self._asked = connection, asked
        self.rows = connection.rows

    def arrow(self, sql: str, params: Any = ()) -> Any:
        self._asked.append((sql, params))
        return self._connection.arrow(sql, params)
