"""The whole of tracking with series in ClickHouse, records in SQLite or PostgreSQL: the same answers as of a folder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from polars.testing import assert_frame_equal

import mlrun
from mlrun.care.arrival import import_runs
from mlrun.care.compaction import compact
from mlrun.care.doctor import examine
from mlrun.care.transfer import export_runs
from mlrun.store import Store, open_store
from mlrun.tables import SYSTEM_METRICS

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

pytestmark = [pytest.mark.clickhouse, pytest.mark.xdist_group("clickhouse")]
QUIET: dict[str, Any] = {"quiet": True, "console": False, "system_metrics": False, "git": False}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    clickhouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """A store whose points lie in ClickHouse; absorbers that it starts are told by the settings."""
    monkeypatch.setenv("MLRUN_SERIES_URL", clickhouse_url)
    if request.param == "postgresql":
        monkeypatch.setenv("MLRUN_RECORDS_URL", request.getfixturevalue("postgres_url"))
    return open_store(tmp_path / "there")


def fill(store: Store) -> dict[str, str]:
    """Runs with short and long series, odd values, lines and a child; returns name -> id."""
    ids = {}
    with mlrun.init(project="p", name="one", config={"lr": 0.1}, store=store, **QUIET) as run:
        ids["one"] = run.id
        for step in range(4000):
            run.log({"loss": math.sin(step / 100) + step % 7, "lr": 0.5**step}, step=step)
        for step, value in enumerate([math.nan, math.inf, -math.inf, -0.0, 5e-324]):
            run.log({"odd/é🙂": value}, step=step)
        run.log({"loss": 99.0}, step=3)
        run.log_result("acc", 0.9)
        run.log_artifact("note", body="bytes")
        store.writer().text(
            "p", run.id, [(1_000_000, "stdout", "a line"), (2_000_000, "stderr", "née")]
        )
        store.writer().channel("p", run.id, SYSTEM_METRICS.name).log({"cpu/percent": 50.0}, 1)
    with mlrun.init(project="p", name="kid", parent=ids["one"], store=store, **QUIET) as run:
        ids["kid"] = run.id
        run.log({"loss": 1.0}, step=1)
    with mlrun.init(project="q", name="two", config={"lr": 0.2}, store=store, **QUIET) as run:
        ids["two"] = run.id
        for step in range(300):
            run.log({"loss": 1.0 / (step + 1)}, step=step)
    return ids


def answers(store: Store, ids: dict[str, str]) -> dict[str, pl.DataFrame]:
    """Ask everything that looks at points or lines, and what stands beside them."""
    at: dict[str, Any] = {"store": store}
    every = list(ids.values())
    found = {
        "runs": mlrun.runs(where="metrics.loss > 0.001", order_by="-metrics.loss", **at),
        "rows": mlrun.metrics(every, **at),
        "last": mlrun.metrics(every, ["loss"], last=True, **at),
        "chart": mlrun.metrics(every, points=200, **at),
        "zoom": mlrun.metrics(ids["one"], "loss", points=50, start=1000, end=3000, **at),
        "time": mlrun.metrics(ids["one"], "l*", points=60, x="time", **at),
        "relative": mlrun.metrics(every, points=60, x="relative", start=0.0, **at),
        "against": mlrun.metrics(ids["one"], "loss", x="metrics.lr", **at),
        "params": mlrun.params(every, **at),
        "artifacts": mlrun.artifacts(ids["one"], **at).drop("uri"),
        "lines": mlrun.logs(ids["one"], **at),
    }
    for number, query in enumerate(
        (
            "select run_id, key, count(*) as n, max(value) as high from metrics group by 1, 2",
            f"select step, value from metrics where run_id = '{ids['two']}' and step between 5 and 9 order by 1",
            "select r.name, avg(m.value) as mean from runs r join metrics m using (run_id) "
            "where m.key = 'loss' group by 1",
            "select key, value from system_metrics",
            "select stream, line from logs order by time",
        )
    ):
        found[f"sql {number}"] = mlrun.sql(query, **at)
    return found


def rows_of(found: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Leave charts out: with rollups they choose other points."""
    return {k: v for k, v in found.items() if k not in ("chart", "zoom", "time", "relative")}


def same(left: dict[str, pl.DataFrame], right: dict[str, pl.DataFrame]) -> None:
    for name, frame in left.items():
        summed = name == "sql 2"  # a sum depends on the order of its terms
        assert_frame_equal(frame, right[name], check_exact=not summed)


def release(store: Store) -> None:
    store.writer().close()
    compact(store)


def test_answers_are_those_of_a_folder_wherever_the_rows_lie(store: Store, tmp_path: Path) -> None:
    here = Store(tmp_path / "here")
    ids = fill(here)
    fresh = answers(here, ids)
    release(here)
    absorbed = answers(here, ids)
    same(rows_of(fresh), absorbed)
    export_runs(here, tmp_path / "export")
    counts = import_runs(store, tmp_path / "export")
    assert (counts["runs"], counts["points"]) == (3, 8308)
    same(absorbed, answers(store, ids))
    compact(store)
    same(absorbed, answers(store, ids))
    export_runs(store, tmp_path / "back")
    back = Store(tmp_path / "again")
    import_runs(back, tmp_path / "back")
    same(absorbed, answers(back, ids))
    assert [f for f in examine(store) if f.severity != "note"] == []
    for opened in (here, back):
        opened.close()


def test_runs_are_tracked_absorbed_resumed_and_deleted(store: Store) -> None:
    ids = fill(store)
    before = answers(store, ids)
    release(store)
    same(rows_of(before), answers(store, ids))
    with mlrun.init(project="p", id=ids["two"], resume="must", store=store, **QUIET) as run:
        run.log({"loss": 7.0})
    assert mlrun.metrics(ids["two"], "loss", store=store)["value"][-1] == 7.0
    release(store)
    assert mlrun.metrics(ids["two"], "loss", points=20, store=store)["value"].max() == 7.0
    assert [f for f in examine(store) if f.severity != "note"] == []
    mlrun.get_run(ids["one"], store=store).delete()
    left = mlrun.sql("select distinct run_id from metrics", store=store)["run_id"].to_list()
    assert sorted(left) == sorted([ids["kid"], ids["two"]])
