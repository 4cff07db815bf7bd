from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.lookup.restricted import ProjectsOnly
from mlrun.sqlquery.answer import run_sql
from mlrun.sqlquery.scans import sql_tables
from mlrun.store import open_store

if TYPE_CHECKING:
    from mlrun.tables import Table

QUERIES = (
    "select name, duration > interval '0 seconds' as ran from runs order by name",
    "select * from runs order by run_id",
    "select r.* from runs r join summaries s using (run_id) where s.key = 'loss' order by run_id",
    "select count(*) as n from runs",
    "select count(*) as n, max(s.count) as most from summaries s",
    'select "KEY", "mean", last * 2 as twice from summaries order by key, mean, last',
    "select key, MEAN, last from summaries order by key, mean, last",
    "select p.value, r.name from params p join runs r on r.run_id = p.run_id order by r.name",
    "select r.name, s.last from runs r join summaries s using (run_id) order by r.name, s.last",
    "select tag, count(*) as n from tags group by tag",
    "with a as (select run_id, state from runs) select state, count(*) as n from a group by state",
    "select w.run_id from runs_wide w order by w.run_id",
)


@pytest.fixture
def store() -> Any:
    """A store with runs of two projects, one of them deleted and one not absorbed."""
    for n in range(4):
        with mlrun.init(project=f"p{n % 2}", name=f"r{n}", config={"lr": n}, tags=["x"]) as run:
            run.log({"loss": float(n), "acc": 0.5})
            run.log({"loss": n / 2})
    mlrun.delete_runs(f"run_id = '{run.id}'")
    open_store().flush_records()
    with mlrun.init(project="p0", name="late", config={"lr": 9}) as run:
        run.log({"loss": 7.0})
    return open_store()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_the_same_when_only_its_columns_are_read(store: Any, query: str) -> None:
    some: Any = ProjectsOnly(store, frozenset({"p0"}))
    for seen in (store, some):
        with sql_tables(seen) as every:
            whole = run_sql_or_error(query, every)
        with sql_tables(seen, query) as few:
            assert str(run_sql_or_error(query, few)) == str(whole)


def run_sql_or_error(query: str, tables: Any) -> Any:
    try:
        return run_sql(query, tables).to_dicts()
    except mlrun.errors.SQLError as error:
        return error


def test_columns_that_a_query_does_not_name_are_not_read(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.lookup.sight import Snapshot

    read: dict[str, Any] = {}
    rows = Snapshot.rows

    def noted(self: Any, table: Table, run_ids: Any, columns: Any = None, keys: Any = None) -> Any:
        read[table.name] = columns
        return rows(self, table, run_ids, columns, keys)

    monkeypatch.setattr(Snapshot, "rows", noted)
    mlrun.sql("select r.name, s.last from runs r join summaries s using (run_id)", store=store)
    assert set(read["runs"]) == {"run_id", "name", "project", "deleted_at"}
    assert set(read["summaries"]) == {"run_id", "last"}
    mlrun.sql("select mean, duration from summaries join runs using (run_id)", store=store)
    assert {"sum", "count", "nan"} <= set(read["summaries"])
    assert {"started_at", "finished_at"} <= set(read["runs"])
    assert "provenance" not in read["runs"]
