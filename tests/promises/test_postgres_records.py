"""The whole of tracking with records in PostgreSQL: the journal and the files local, series in Delta."""

from __future__ import annotations

import pickle
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.registry import storage_class
from mlrun.store import open_store
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.postgres
SCRIPT = """
    import sys, mlrun
    run = mlrun.init(project="p", name="a", config={"lr": 0.1})
    run.log({"loss": 1.0})
    run.finish()
    heavy = {"adbc_driver_postgresql", "adbc_driver_manager", "pyarrow", "polars", "numpy"}
    print(sorted(heavy & set(sys.modules)), run.id)
"""


@pytest.fixture
def url(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLRUN_RECORDS_URL", postgres_url)
    return postgres_url


def test_runs_are_tracked_asked_changed_and_deleted(url: str, own_folder: Path) -> None:
    with mlrun.init(project="p", name="one", config={"lr": 0.1}, tags=["best"]) as run:
        for step in range(100):
            run.log({"loss": 1.0 / (step + 1), "nan": float("nan")})
        run.log_result("acc", 0.9)
        run.log_table("rows", {"x": [1, 2]})
    with mlrun.init(project="p", name="two", config={"lr": 0.2}) as other:
        other.log({"loss": 3.0})
    found = mlrun.runs("p", where="params.lr < 0.15 and 'best' in tags and results.acc > 0.5")
    assert found["run_id"].to_list() == [run.id]
    assert found["metrics.loss"].to_list() == [0.01]
    assert mlrun.runs("p", order_by="-metrics.loss")["name"].to_list() == ["two", "one"]
    assert mlrun.metrics(run.id, keys=["loss"]).height == 100
    assert mlrun.artifacts(run.id).height == 1
    open_store().flush_records()
    mlrun.get_run(run.id).update(notes="seen", add_tags=["kept"])
    assert mlrun.runs("p", where="'kept' in tags")["notes"].to_list() == ["seen"]
    assert mlrun.sql("select count(*) as n from runs")["n"].to_list() == [2]
    with mlrun.init(project="p", id=run.id, resume="must") as again:
        again.log({"loss": 7.0})
    assert mlrun.get_run(run.id).summary["loss"] == 7.0
    mlrun.get_run(other.id).delete()
    assert mlrun.runs("p")["name"].to_list() == ["one"]
    assert not (own_folder / ".mlrun" / "mlrun.db").exists()


def test_what_is_stored_is_compacted_and_examined(url: str, python: Any) -> None:
    from mlrun.care.compaction import compact
    from mlrun.care.doctor import examine

    python(SCRIPT)
    compact(open_store())
    with closing(storage_class(url)(url)) as records:
        assert [r["state"] for r in records.lookup(RUNS, {"name": "a"})] == ["completed"]
    told: list[str] = []
    found = examine(open_store(), progress=told.append)
    assert [f for f in found if f.severity != "note"] == []
    assert any("postgresql://" in line for line in told)
    assert "mlrun.db" not in " ".join(told)
    assert mlrun.runs("p")["metrics.loss"].to_list() == [1.0]


def test_the_end_of_a_run_waits_for_no_server(url: str, python: Any) -> None:
    heavy, run_id = python(SCRIPT).stdout.rsplit(None, 1)
    assert heavy == "[]"
    with closing(storage_class(url)(url)) as records:
        for _ in range(600):  # an absorber beside it brings the run
            records.create()
            if [r["state"] for r in records.lookup(RUNS, {"run_id": run_id})] == ["completed"]:
                return
            time.sleep(0.05)
    pytest.fail("the run did not arrive within half a minute")


def test_a_run_is_resumed_without_loading_frames(url: str, python: Any) -> None:
    run_id = python(SCRIPT).stdout.rsplit(None, 1)[1]
    open_store().flush_records()
    script = """
        import sys, mlrun
        from mlrun.store import open_store
        from mlrun.tables import RUNS
        with mlrun.init(project="p", id=sys.argv[1], resume="must") as run:
            run.log({"loss": 2.0})
        records = open_store().records
        assert records.marks() and records.lookup(RUNS, {"run_id": run.id})[0]["name"] == "a"
        print(sorted({"pyarrow", "polars", "numpy"} & set(sys.modules)))
    """
    assert python(script, run_id).stdout.strip() == "[]"


def test_tracking_goes_on_while_the_server_is_away(
    own_folder: Path, python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"postgresql://nobody@/nothing?host={own_folder}"
    assert python(SCRIPT, MLRUN_RECORDS_URL=nowhere).stdout.startswith("[]")
    monkeypatch.setenv("MLRUN_RECORDS_URL", nowhere)
    with pytest.raises(mlrun.errors.StoreError, match="nobody@/nothing"):
        mlrun.runs("p")


def test_no_password_is_pickled_or_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "MLRUN_RECORDS_URL", "postgresql://me:hunter2@localhost:1/db?connect_timeout=1"
    )
    store = open_store()
    assert b"hunter2" not in pickle.dumps(store)
    assert pickle.loads(pickle.dumps(store)) is store
    with pytest.raises(mlrun.errors.StoreError) as told:
        _ = store.records
    assert "hunter2" not in repr(told.value)
    assert "me@localhost" in str(told.value)
