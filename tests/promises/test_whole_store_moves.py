"""Export and import carry a whole store between any two sets of engines, there and back, and nothing is different."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from polars.testing import assert_frame_equal

import mlrun
from mlrun.care.arrival import import_runs
from mlrun.care.compaction import compact
from mlrun.care.doctor import examine
from mlrun.care.transfer import export_runs
from mlrun.errors import ObjectError
from mlrun.store import Store, open_store
from mlrun.workflows.schedule import Schedule, put_schedule, schedules_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl

    from mlrun.testing.s3 import S3Server

_SERVERS = [pytest.mark.s3, pytest.mark.postgres, pytest.mark.xdist_group("s3")]


def train(context: mlrun.Run, lr: float = 0.1) -> None:
    context.log_result("acc", lr)


def fill(store: Store, folder: Path) -> None:
    for name in ("sub/a.bin", "sub/b.bin", "c.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    for number in range(3):
        with mlrun.init(
            project="p",
            name=f"run {number}",
            config={"lr": 0.1 * number, "deep": {"er": [1, None]}},
            tags=["t"],
            store=store,
        ) as run:
            for step in range(700):
                run.log({"loss": 1 / (step + 1), "odd": [math.nan, math.inf, -0.0][step % 3]})
            run.log({"loss": 5.0}, step=3)
            run.log_results({"acc": number / 3, "words": {"é": [1]}})
            run.log_artifact("weights", local_path=str(folder), aliases=["best"])
            run.log_artifact("big", body=bytes(range(256)) * 50_000)
            run.log_model("clf", body={"w": number}, metrics={"acc": 0.5})
    mlrun.get_or_create_project("no runs", context=str(folder / "sub"), store=store)
    project = mlrun.get_or_create_project("p", context=str(folder), store=store)
    project.set_function(train, name="train", kind="job")
    put_schedule(
        store, Schedule("p", "nightly", "0 3 * * *", {"kind": "function", "name": "train"})
    )


def frames(store: Store) -> dict[str, pl.DataFrame]:
    ids = mlrun.runs(order_by="name", store=store)["run_id"].to_list()
    return {
        "runs": mlrun.runs(order_by="name", children=True, store=store),
        "params": mlrun.params(ids, store=store),
        "metrics": mlrun.metrics(ids, store=store),
        "charts": mlrun.metrics(ids, keys=["loss"], points=100, store=store),
        "artifacts": mlrun.artifacts("p", store=store).sort("key", "version", "run_id"),
        "projects": mlrun.projects(store=store).sort("name"),
    }


def hold_the_same(one: Store, other: Store) -> None:
    for name, frame in frames(one).items():
        assert frame.height, name
        assert_frame_equal(frames(other)[name], frame, check_exact=True)
    for key in ("weights", "big"):
        here, there = (mlrun.get_artifact(f"p/{key}:latest", store=s) for s in (one, other))
        assert here.sha256 == there.sha256
    folder = mlrun.get_artifact("p/weights:best", store=other).path()
    assert (folder / "sub" / "a.bin").read_bytes() == b"sub/a.bin" * 1000
    model = mlrun.get_artifact("p/clf:v3", store=other)
    assert model.load(trust=True) == {"w": 2}
    assert [f for f in examine(other) if f.severity != "note"] == []


@pytest.fixture(
    params=[
        pytest.param("s3", marks=_SERVERS, id="delta_on_s3"),
        pytest.param("clickhouse", marks=[*_SERVERS, pytest.mark.clickhouse], id="clickhouse"),
    ]
)
def servers(
    request: pytest.FixtureRequest, postgres_url: str, s3: S3Server, bucket: str, tmp_path: Path
) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "s3":
            series = s3.url(bucket, "series")
        else:
            from mlrun.testing.clickhouse import ClickHouseServer

            series = stack.enter_context(ClickHouseServer()).database()
        store = Store(
            tmp_path / "servers",
            records=postgres_url,
            series=series,
            objects=s3.url(bucket, "objects"),
        )
        stack.callback(store.close)
        yield store


def test_there_and_back_nothing_is_different(servers: Store, tmp_path: Path) -> None:
    embedded = open_store(tmp_path / "embedded")
    fill(embedded, tmp_path / "made")
    first = export_runs(embedded, tmp_path / "out.tar")
    counts = import_runs(servers, tmp_path / "out.tar")
    assert counts["runs"] == 3
    assert counts["schedules"] == 1
    hold_the_same(embedded, servers)
    compact(servers)
    hold_the_same(embedded, servers)
    assert [(s.name, s.enabled) for s in schedules_of(servers)] == [("nightly", False)]

    second = export_runs(servers, tmp_path / "back")
    assert second["objects"] == first["objects"]
    assert second["missing"] == {}
    assert {n: t["rows"] for n, t in second["tables"].items()} == {
        n: t["rows"] for n, t in first["tables"].items()
    }
    again = open_store(tmp_path / "again")
    import_runs(again, tmp_path / "back")
    hold_the_same(embedded, again)
    assert import_runs(servers, tmp_path / "back")["runs"] == 0
    hold_the_same(embedded, servers)


@pytest.mark.s3
def test_a_bucket_that_is_away_is_no_export_without_its_bytes(
    s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store", objects=s3.url(bucket, "objects") + "&retries=0")
    with mlrun.init(project="p", store=store) as run:
        run.log_artifact("a", body="bytes")
    s3.fail(path="", how="503", times=100_000)
    with pytest.raises(ObjectError, match="503"):
        export_runs(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    s3.calm()
    assert run.id in mlrun.runs("p", store=store)["run_id"]
    assert export_runs(store, tmp_path / "out")["missing"] == {}
    store.close()
