"""Artifacts in a bucket: the journal, records and series local, the bytes in S3."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import polars as pl
import pytest

import mlrun
from mlrun.care.compaction import compact
from mlrun.care.doctor import examine
from mlrun.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.testing.s3 import S3Server

pytestmark = pytest.mark.s3


@pytest.fixture
def url(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLRUN_OBJECTS_URL", s3_url)
    return s3_url


def objects_of(s3: S3Server, bucket: str) -> list[str]:
    return [k for k in s3.keys(bucket) if "touched/" not in k]


def test_artifacts_models_and_folders_are_stored_and_come_back(
    url: str, s3: S3Server, bucket: str, own_folder: Path
) -> None:
    (own_folder / "weights").mkdir()
    for number in range(20):
        (own_folder / "weights" / f"{number}.bin").write_bytes(b"%d" % number)
    with mlrun.init(project="p", name="one") as run:
        run.log_artifact("notes", body="text")
        run.log_dataset("train", pl.DataFrame({"x": [1, 2, 3]}))
        run.log_model("clf", body={"w": 1}, metrics={"acc": 0.5})
        run.log_artifact(str(own_folder / "weights"))
    assert len(objects_of(s3, bucket)) >= 23
    assert not (own_folder / ".mlrun" / "objects").exists()
    assert mlrun.get_artifact("p/notes").get() == b"text"
    assert mlrun.get_artifact("p/train").as_df().equals(pl.DataFrame({"x": [1, 2, 3]}))
    assert mlrun.get_artifact("p/clf").load(trust=True) == {"w": 1}
    folder = mlrun.get_artifact("p/weights").path()
    assert (folder / "7.bin").read_bytes() == b"7"
    with mlrun.init(project="p", name="two") as run:
        item = run.use_artifact("p/train:latest")
        assert item.as_df().height == 3


def test_what_is_deleted_is_freed_and_what_is_damaged_is_told(
    url: str, s3: S3Server, bucket: str
) -> None:
    with mlrun.init(project="p", name="kept") as kept:
        kept.log_artifact("a", body="kept")
    with mlrun.init(project="p", name="gone") as gone:
        gone.log_artifact("b", body="removed")
    store = open_store()
    store.flush_records()
    sha256 = mlrun.get_artifact("p/b").sha256
    s3.age(bucket, 90_000)
    store.records.apply([("put", "runs", {"run_id": gone.id, "deleted_at": 1})])
    counts = compact(store)
    assert counts["runs_freed"] == 1
    assert counts["objects_freed"] >= 1
    assert not [k for k in s3.keys(bucket) if sha256 in k]
    assert [f for f in examine(store) if f.severity != "note"] == []
    (name,) = [k for k in objects_of(s3, bucket) if mlrun.get_artifact("p/a").sha256 in k]
    s3.put(bucket, name, b"bad!")
    assert [f.severity for f in examine(store) if f.severity != "note"] == ["lost"]


def test_a_bucket_that_is_away_fails_no_training(
    url: str, s3: S3Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLRUN_OBJECTS_URL", f"{url}&retries=0")
    s3.fail(path="", how="503", times=100_000)
    with mlrun.init(project="p", name="one") as run:
        run.log({"loss": 1.0})
        run.log_artifact("a", body="lost")
    assert mlrun.runs("p")["state"].to_list() == ["completed"]
    told = capfd.readouterr().err
    assert "'a' was not logged" in told
    assert "not-a-secret" not in told


def test_no_secret_travels_with_a_store(url: str) -> None:
    store = open_store()
    assert b"not-a-secret" not in pickle.dumps(store)
    assert b"not-a-secret" not in pickle.dumps(store.objects)
    assert pickle.loads(pickle.dumps(store)) is store
