from __future__ import annotations

import os
import pickle
from contextlib import closing
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

from mlrun.contracts import PointFilter
from mlrun.errors import CorruptStore, StoreError
from mlrun.registry import storage_class
from mlrun.tables import METRICS
from mlrun.testing.series import SeriesConformance
from mlrun.testing.series_sample import matching, rows_of, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.testing.s3 import S3Server

pytestmark = pytest.mark.s3


class TestDeltaOnS3(SeriesConformance):
    @pytest.fixture
    def url(self, s3_url: str) -> str:
        return f"delta+{s3_url}"


@pytest.fixture
def url(s3_url: str) -> str:
    return f"delta+{s3_url}"


@pytest.fixture
def series(url: str) -> Iterator[Any]:
    with closing(storage_class(url)(url)) as store:
        yield store


def long_run(rows: int) -> pa.Table:
    data = sample(METRICS, rows, plain=True)
    steps = pa.array(range(rows), pa.int64())
    place = METRICS.schema.get_field_index("step")
    return data.set_column(place, METRICS.schema.field("step"), steps)


def test_the_environment_says_where_and_who(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    url = f"delta+s3://{bucket}"
    with closing(storage_class(url)(url)) as store:
        data = sample(METRICS, 10)
        store.append(METRICS, data)
        assert rows_of(store.snapshot(METRICS).scan()) == rows_of(data)
        assert rows_of(store.snapshot(METRICS).lazy().collect()) == rows_of(data)
    assert all(key.startswith("metrics/") for key in s3.keys(bucket))


def test_a_part_of_a_large_file_is_read_by_its_ranges(series: Any, s3: S3Server) -> None:
    data = long_run(400_000)
    series.append(METRICS, data)
    (file,) = series.snapshot(METRICS)._state.files
    assert file.size > 2 << 20
    s3.calm()
    where = PointFilter(run_ids=("run-1",), keys=("a",), steps=(100_000, 100_500))
    found = series.snapshot(METRICS).scan(where)
    assert rows_of(found) == rows_of(matching(data, where))
    reads = [r for r in s3.requests() if r.startswith("GET") and ".parquet" in r]
    assert 0 < len(reads) < 20
    lazy = series.snapshot(METRICS).lazy().filter(pl.col("step") == 7)
    assert lazy.collect().height == 1


def test_files_few_and_many_are_merged_and_freed(series: Any, s3: S3Server, bucket: str) -> None:
    parts = [sample(METRICS, 100, seed=n) for n in range(1, 18)]
    for number, part in enumerate(parts, 1):
        series.append(METRICS, part, marks={"w": number})
    assert series.gather(METRICS)["files_merged"] == 17
    assert series.compact(METRICS, keep_hours=0)["files_freed"] == 17
    assert (
        len([k for k in s3.keys(bucket) if k.endswith(".parquet") and "_delta_log" not in k]) == 1
    )
    view = series.snapshot(METRICS)
    assert rows_of(view.scan()) == rows_of(pa.concat_tables(parts))
    assert view.marks() == {"w": 17}


@pytest.mark.parametrize("how", ["cut", "refuse", "503"])
def test_a_commit_whose_answer_is_lost_counts_once(series: Any, s3: S3Server, how: str) -> None:
    first, second = sample(METRICS, 10, seed=1), sample(METRICS, 10, seed=2)
    series.append(METRICS, first, marks={"w": 1})
    s3.fail(method="PUT", path=r"_delta_log/0+2\.json", how=how, times=2)
    s3.fail(method="PUT", path=r"[^0]\.parquet", how=how, times=1)
    assert series.append(METRICS, second, marks={"w": 2}) is True
    assert series.append(METRICS, second, marks={"w": 2}) is False
    assert rows_of(series.snapshot(METRICS).scan()) == rows_of(pa.concat_tables([first, second]))


def test_a_bucket_that_is_away_is_not_called_damaged(url: str, s3: S3Server) -> None:
    with closing(storage_class(url)(f"{url}&retries=0")) as store:
        store.append(METRICS, sample(METRICS, 10))
        s3.fail(path="", how="403", times=100_000)
        calls: list[Callable[[], Any]] = [
            lambda: store.snapshot(METRICS),
            lambda: store.append(METRICS, sample(METRICS, 10)),
            lambda: store.check(),
        ]
        for call in calls:
            with pytest.raises(StoreError) as told:
                call()
            assert not isinstance(told.value, CorruptStore)
            assert "not-a-secret" not in f"{told.value!r} {told.value.__cause__!r}"
        s3.calm()
        assert store.snapshot(METRICS).scan().read_all().num_rows == 10


def test_damage_is_found_and_the_rest_stays_readable(
    series: Any, s3: S3Server, bucket: str
) -> None:
    parts = [sample(METRICS, 100, seed=n) for n in (1, 2)]
    for part in parts:
        series.append(METRICS, part)
    assert series.check() == []
    first = next(k for k in s3.keys(bucket) if k.endswith(".parquet"))
    s3.put(bucket, first, b"PAR1 not any more PAR1")
    fresh = storage_class(series.url)(series.url)  # what is in memory is not damaged
    assert [f.severity for f in fresh.check()] == ["lost"]
    assert [f.severity for f in fresh.check(repair=True)] == ["lost", "repaired"]
    assert rows_of(fresh.snapshot(METRICS).scan()) == rows_of(parts[1])
    assert any("_damaged_" in k for k in s3.keys(bucket))
    fresh.close()


def test_a_torn_last_commit_is_put_aside(series: Any, s3: S3Server, bucket: str) -> None:
    for number in (1, 2):
        series.append(METRICS, sample(METRICS, 10, seed=number), marks={"w": number})
    last = max(k for k in s3.keys(bucket) if k.endswith(".json"))
    s3.put(bucket, last, b'{"commitInfo"')
    with closing(storage_class(series.url)(series.url)) as fresh:
        assert "newest commit" in fresh.check()[0].what
        fresh.check(repair=True)
        assert fresh.check() == []
        assert fresh.snapshot(METRICS).marks() == {"w": 1}
        assert fresh.append(METRICS, sample(METRICS, 10, seed=2), marks={"w": 2})


@pytest.mark.parametrize("made", [False, True])
def test_a_forked_child_is_refused_and_does_not_hang(series: Any, made: bool) -> None:
    if made:
        series.append(METRICS, sample(METRICS, 3))
    rows = series.snapshot(METRICS).scan().read_all().num_rows
    pid = os.fork()
    if not pid:
        try:
            series.snapshot(METRICS)
        except StoreError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert series.snapshot(METRICS).scan().read_all().num_rows == rows


def test_no_secret_is_shown_or_pickled(url: str) -> None:
    with closing(storage_class(url)(url)) as store:
        store.create(METRICS)
        assert "not-a-secret" not in f"{store!r} {store.url} {pickle.dumps(store)!r}"
        again = pickle.loads(pickle.dumps(store))
        assert again.append(METRICS, sample(METRICS, 3))
        again.close()


@pytest.mark.parametrize("url", ["delta+gs://bucket/x", "delta+az://box/x?account_name=me"])
def test_other_providers_are_made(url: str) -> None:
    with closing(storage_class(url)(url)) as store:
        assert store.url == url
        assert (
            store.folder_of("metrics").uri
            == f"{url.partition('?')[0].removeprefix('delta+')}/metrics"
        )
