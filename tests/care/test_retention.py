"""What a policy removes and when; what stays can be charted, and nothing of it is taken for lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.care.arrival import import_runs
from mlrun.care.doctor import examine
from mlrun.care.retention import policies, set_policy
from mlrun.care.transfer import export_runs
from mlrun.cli.root import run as command
from mlrun.errors import ConfigError
from mlrun.ids import now_us
from mlrun.store import Store, open_store
from mlrun.tables import METRICS, RUNS

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400_000_000
STEPS = 3_000


def old_run(store: Store, days: int = 40, *, short: bool = True, project: str = "p") -> str:
    """Log a run that ended so many days ago: a long series, and a short one if that is wanted."""
    with mlrun.init(project=project, store=store, quiet=True, system_metrics=False) as run:
        for step in range(STEPS):
            run.log({"loss": math.sin(step / 100) + (step == 1234) * 5}, step=step)
        for step in range(20 if short else 0):
            run.log({"acc": float(step)}, step=step)
    store.writer().close()  # what a living process may still write to is left alone
    mlrun.compact(store=store)
    at = now_us() - days * DAY
    row = {"run_id": run.id, "started_at": at, "finished_at": at}
    store.records.apply([("put", RUNS.name, row)])
    return run.id


def losses(store: Store) -> list[Any]:
    return [f for f in examine(store) if f.severity != "note"]


def check_points_gone(store: Store, run_id: str) -> None:
    assert mlrun.metrics(run_id, keys=["loss"], store=store).is_empty()
    for points in (50, 2_000):
        chart = mlrun.metrics(run_id, keys=["loss"], points=points, store=store)
        assert 10 < chart.height <= points
        assert (chart["step"][0], chart["step"][-1]) == (0, STEPS - 1)
        assert chart["value"].max() == pytest.approx(math.sin(12.34) + 5)
    some = mlrun.metrics(run_id, keys=["loss"], points=100, start=1000, end=2000, store=store)
    assert some["step"].is_between(1000, 2000).all()
    assert some.height > 10
    assert losses(store) == []
    summary = mlrun.runs(store=store, columns=["metrics.loss.count"])
    assert summary.item() == STEPS


def check_rollups_gone(store: Store, run_id: str) -> None:
    assert mlrun.metrics(run_id, points=50, store=store).is_empty()
    assert mlrun.runs(store=store, columns=["metrics.loss.count"]).item() == STEPS
    assert losses(store) == []


def test_points_go_where_rollups_tell_of_them_and_short_series_stay(tmp_path: Path) -> None:
    store = open_store()
    run_id = old_run(store)
    set_policy(store, "p", raw_days=50)
    assert mlrun.compact()["points_expired"] == 0
    set_policy(store, "p", raw_days=30)
    assert mlrun.compact()["points_expired"] == STEPS
    check_points_gone(store, run_id)
    both = mlrun.metrics(run_id, points=100)
    assert both.filter(both["key"] == "acc").height == 20
    assert mlrun.metrics(run_id, keys=["acc"]).height == 20
    assert mlrun.compact()["points_expired"] == 0
    set_policy(store, "p", rollup_days=35)
    mlrun.compact()
    check_rollups_gone(store, run_id)
    export_runs(store, tmp_path / "out")
    other = Store(tmp_path / "other")
    import_runs(other, tmp_path / "out")
    assert losses(other) == []
    assert policies(other).equals(policies(store))
    other.close()


@pytest.mark.clickhouse
@pytest.mark.xdist_group("clickhouse")
def test_also_in_clickhouse_and_what_its_own_time_limit_took_is_not_lost(
    tmp_path: Path, clickhouse_url: str
) -> None:
    store = Store(tmp_path / "store", series=clickhouse_url)
    run_id = old_run(store, short=False)
    set_policy(store, "p", raw_days=30)
    assert mlrun.compact(store=store)["points_expired"] == STEPS
    check_points_gone(store, run_id)
    set_policy(store, "p", rollup_days=35)
    mlrun.compact(store=store)
    check_rollups_gone(store, run_id)
    store.close()


@pytest.mark.clickhouse
@pytest.mark.xdist_group("clickhouse")
def test_one_short_series_does_not_hold_the_others_back_in_clickhouse(
    tmp_path: Path, clickhouse_url: str
) -> None:
    store = Store(tmp_path / "store", series=clickhouse_url)
    run_id = old_run(store)
    set_policy(store, "p", raw_days=30)
    assert mlrun.compact(store=store)["points_expired"] == STEPS
    check_points_gone(store, run_id)
    assert mlrun.metrics(run_id, keys=["acc"], store=store).height == 20
    assert mlrun.compact(store=store)["points_expired"] == 0
    store.close()


@pytest.mark.clickhouse
@pytest.mark.xdist_group("clickhouse")
def test_points_that_the_database_let_go_by_their_age_are_not_lost(
    tmp_path: Path, clickhouse_url: str
) -> None:
    mark = "&" if "?" in clickhouse_url else "?"
    store = Store(tmp_path / "store", series=f"{clickhouse_url}{mark}retention_days=30")
    run_id = old_run(store)
    series: Any = store.series
    series.delete_runs(METRICS, [run_id])  # as its merges do
    assert losses(store) == []
    young = old_run(store, days=1, project="q")
    series.delete_runs(METRICS, [young])
    assert {f.severity for f in losses(store)} == {"lost"}
    store.close()


def test_a_series_whose_steps_come_twice_keeps_its_points() -> None:
    store = open_store()
    with mlrun.init(project="p", quiet=True, system_metrics=False) as run:
        for step in [*range(500), *range(500)]:
            run.log({"loss": float(step)}, step=step)
    store.writer().close()
    mlrun.compact()
    store.records.apply([("put", RUNS.name, {"run_id": run.id, "finished_at": 1})])
    set_policy(store, "p", raw_days=1)
    assert mlrun.compact()["points_expired"] == 0
    assert mlrun.metrics(run.id).height == 1_000


def test_deleted_runs_stay_as_long_as_their_project_says() -> None:
    store = open_store()
    for project in ("p", "q"):
        mlrun.init(project=project, quiet=True).finish()
    set_policy(store, "p", deleted_days=3)
    mlrun.compact()
    stamp = now_us() - 5 * DAY
    rows = store.records.lookup(RUNS, {})
    store.records.apply(
        [("put", RUNS.name, {"run_id": r["run_id"], "deleted_at": stamp}) for r in rows]
    )
    assert mlrun.compact()["runs_freed"] == 1
    assert [row["project"] for row in store.records.lookup(RUNS, {})] == ["q"]


def test_policies_are_set_one_by_one_and_checked() -> None:
    store = open_store()
    assert policies(store).is_empty()
    assert command(["retention", "set", "p", "--raw-days", "90", "--points-per-second", "10"]) == 0
    assert command(["retention", "set", "p", "--rollup-days", "365"]) == 0
    assert command(["retention", "set", "p", "--points-per-second", "0"]) == 0
    (row,) = policies(store).rows(named=True)
    assert {k: v for k, v in row.items() if v is not None} == {
        "project": "p", "raw_days": 90, "rollup_days": 365,
    }  # fmt: skip
    bad: list[dict[str, Any]] = [{"rollup_days": 30}, {"raw_days": -1}, {"raw_days": 1.5}, {"x": 1}]
    for values in bad:
        with pytest.raises(ConfigError):
            set_policy(store, "p", **values)
    assert policies(store).rows(named=True) == [row]
