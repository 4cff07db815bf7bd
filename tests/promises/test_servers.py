"""The life of runs where records lie in PostgreSQL, points in Delta tables on S3 and bytes in S3."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.care.compaction import compact
from mlrun.care.doctor import examine
from mlrun.store import open_store
from mlrun.tables import METRICS

if TYPE_CHECKING:
    from mlrun.testing.s3 import S3Server

pytestmark = [pytest.mark.s3, pytest.mark.postgres, pytest.mark.xdist_group("s3")]

_KILLED = """
    import mlrun, sys, time
    run = mlrun.init(project="p", name="killed", config={"lr": 0.1})
    for step in range(5000):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
    run.log_artifact("weights", body=b"w" * 100_000)
    print(run.id, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def servers(
    postgres_url: str, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> S3Server:
    """Credentials of the bucket come from the environment, as they do on a worker."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLRUN_RECORDS_URL", postgres_url)
    monkeypatch.setenv("MLRUN_SERIES_URL", f"s3://{bucket}/series")
    monkeypatch.setenv("MLRUN_OBJECTS_URL", f"s3://{bucket}/objects")
    return s3


def keys(s3: S3Server, bucket: str, word: str) -> list[str]:
    return [k for k in s3.keys(bucket) if word in k and "touched" not in k]


def test_a_killed_run_is_lost_whole_and_goes_on(s3: S3Server, bucket: str, start: Any) -> None:
    child = start(_KILLED)
    run_id = child.stdout.readline().strip()
    child.send_signal(signal.SIGKILL)
    child.wait()
    view = mlrun.get_run(run_id)
    assert view.state == "lost"
    assert view.metrics().height == 5000
    compact(open_store())
    assert keys(s3, bucket, "series/metrics/")
    assert mlrun.get_run(run_id).metrics().height == 5000
    with mlrun.init(project="p", id=run_id, resume="must") as run:
        assert run.step == 5000
        run.log({"loss": 7.0})
    compact(open_store())
    view = mlrun.get_run(run_id)
    assert (view.state, view.summary["loss"], view.metrics().height) == ("completed", 7.0, 5001)
    assert view.artifact("weights").get() == b"w" * 100_000
    assert [f for f in examine(open_store()) if f.severity != "note"] == []


def test_a_deleted_run_is_freed_from_every_server(s3: S3Server, bucket: str, finished: Any) -> None:
    kept = finished("kept")
    with mlrun.init(project="p", name="gone") as run:
        run.log({"loss": 1.0})
        sha256 = run.log_artifact("a", body=b"only of the deleted run").sha256
    store = open_store()
    store.writer().close()
    compact(store)
    assert keys(s3, bucket, sha256)
    mlrun.get_run(run.id).delete()
    store.records.apply([("put", "runs", {"run_id": run.id, "deleted_at": 1})])
    s3.age(bucket, 2 * 86_400)
    assert compact(store)["runs_freed"] == 1
    assert not keys(s3, bucket, sha256)
    rows = store.series.snapshot(METRICS).scan().read_all()
    assert set(rows.column("run_id").to_pylist()) == {kept}
    assert mlrun.runs("p", deleted=True)["run_id"].to_list() == [kept]


def test_points_stay_in_the_journal_while_the_bucket_is_away(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLRUN_SERIES_URL", f"s3://{bucket}/series?retries=0")
    with mlrun.init(project="p", name="a") as run:
        run.log({"loss": 1.0})
    s3.fail(path="/series/", how="403", times=100_000)
    with pytest.raises(mlrun.errors.StoreError, match="privileges"):
        compact(open_store())
    s3.calm()
    assert mlrun.get_run(run.id).metrics().height == 1
    compact(open_store())
    assert mlrun.get_run(run.id).metrics().height == 1
    assert keys(s3, bucket, "series/metrics/")
