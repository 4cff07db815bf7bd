"""What is Delta's own: the log, the files, their size, and what damage does."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlrun.contracts import PointFilter
from mlrun.errors import (
    ConfigError,
    CorruptStore,
    SnapshotExpired,
    StoreError,
    StoreVersionError,
)
from mlrun.registry import storage_class
from mlrun.series.rollups import build
from mlrun.tables import METRICS, ROLLUPS, Column, Table
from mlrun.testing.series_sample import rows_of, sample

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"delta://{tmp_path}/series"


@pytest.fixture
def series(url: str) -> Any:
    return storage_class(url)(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "series" / "metrics"


def points(n: int, run: str = "r", start: int = 0, key: str = "k") -> pa.Table:
    rng = np.random.default_rng(start)
    step = np.arange(start, start + n)
    time_ = 1_700_000_000_000_000 + step * 1000 + rng.integers(0, 999, n)
    columns = [
        ["p"] * n, [run] * n, [key] * n, step, pa.array(time_, pa.timestamp("us", "UTC")),
        rng.standard_normal(n), ["w-0123456789ab"] * n, step,
    ]  # fmt: skip
    return pa.table(columns, schema=METRICS.schema)


def parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!_]*.parquet"))


def commits(folder: Path) -> list[Path]:
    return sorted((folder / "_delta_log").glob("*.json"))


# -- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["with space", "100% sure", "ünïcode ☃", "a#b?c"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    url = "delta://" + (tmp_path / name).as_uri().removeprefix("file://")
    series = storage_class(url)(url)
    data = sample(METRICS, 30)
    series.append(METRICS, data, marks={"w": 1})
    assert (tmp_path / name / "metrics" / "_delta_log").is_dir()
    again = storage_class(url)(url)
    assert rows_of(again.snapshot(METRICS).scan()) == rows_of(data)
    assert rows_of(again.snapshot(METRICS).lazy().collect()) == rows_of(data)


def test_a_folder_that_delta_would_mistake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="escape"):
        storage_class("delta://")("delta://" + (tmp_path / "a%41").as_uri().removeprefix("file://"))


def test_the_folder_can_be_moved(series: Any, tmp_path: Path) -> None:
    series.append(METRICS, sample(METRICS, 30), marks={"w": 1})
    (tmp_path / "series").rename(tmp_path / "moved")
    moved = storage_class("delta://")(f"delta://{tmp_path}/moved")
    assert moved.snapshot(METRICS).scan().read_all().num_rows == 30
    assert moved.append(METRICS, sample(METRICS, 30), marks={"w": 1}) is False


@pytest.mark.parametrize("url", ["delta:relative", "delta://relative/path", "file:///x"])
def test_urls_that_mean_nothing(url: str) -> None:
    with pytest.raises(ConfigError, match="delta://"):
        storage_class("delta:///")(url)


def test_a_table_of_another_version_is_refused(series: Any) -> None:
    older = Table(
        METRICS.name,
        (*METRICS.columns, Column("extra", "string")),
        METRICS.key,
        "series",
        METRICS.sort,
    )
    series.append(older, sample(METRICS, 3))
    series.close()
    again = storage_class(series.url)(series.url)
    with pytest.raises(StoreVersionError, match="extra"):
        again.snapshot(METRICS)


# -- size and order -----------------------------------------------------------------------------


def test_a_point_costs_less_than_twenty_bytes(series: Any, tmp_path: Path) -> None:
    for segment in range(1, 6):
        part = points(100_000, start=segment * 100_000)
        series.append(METRICS, part, marks={"w": segment})
        series.append(ROLLUPS, build(part), marks={"w": segment})
    size = sum(f.stat().st_size for f in (tmp_path / "series").rglob("*") if f.is_file())
    assert size / 500_000 < 12


def test_short_series_cost_less_than_twenty_bytes_a_point(series: Any, tmp_path: Path) -> None:
    ids = [f"0190{i:04x}-bbbb-7ccc-8ddd-{i * 7919:012x}" for i in range(300)]
    part = pa.concat_tables([points(20, run, key=f"key{k}") for run in ids for k in range(10)])
    series.append(METRICS, part, marks={"w": 1})
    series.append(ROLLUPS, build(part), marks={"w": 1})
    size = sum(f.stat().st_size for f in (tmp_path / "series").rglob("*") if f.is_file())
    assert size / part.num_rows < 20


def test_files_are_sorted_and_told_apart_by_the_log(series: Any, folder: Path) -> None:
    part = pa.concat_tables([points(2000, r, key=k) for r in "cab" for k in ("y", "x")])
    shuffled = part.take(pa.array(np.random.default_rng(0).permutation(part.num_rows)))
    series.append(METRICS, shuffled)
    written = pl.read_parquet(parquet(folder)[0])
    assert written.equals(written.sort(METRICS.sort))
    actions = [json.loads(line) for line in commits(folder)[-1].read_text().splitlines()]
    (add,) = [a["add"] for a in actions if "add" in a]
    stats = json.loads(add["stats"])
    assert stats["numRecords"] == part.num_rows
    assert (stats["minValues"]["run_id"], stats["maxValues"]["run_id"]) == ("a", "c")
    assert (stats["minValues"]["step"], stats["maxValues"]["step"]) == (0, 1999)


def test_files_without_the_run_are_not_opened(series: Any, folder: Path) -> None:
    for segment, run in enumerate("abc", 1):
        series.append(METRICS, points(100, run), marks={"w": segment})
    files = parquet(folder)
    view = series.snapshot(METRICS)
    for gone in (files[0], files[2]):
        gone.unlink()
    assert view.scan(PointFilter(run_ids=("b",))).read_all().num_rows == 100
    with pytest.raises(SnapshotExpired):
        view.scan(PointFilter(run_ids=("a", "b"))).read_all()


def test_row_groups_out_of_range_are_not_read(series: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    series.append(METRICS, points(300_000))
    asked = []
    real = pq.ParquetFile.read_row_groups

    def spy(self: Any, groups: Any, **options: Any) -> Any:
        asked.extend(groups)
        return real(self, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    found = series.snapshot(METRICS).scan(PointFilter(run_ids=("r",), steps=(70_000, 70_100)))
    assert found.read_all().num_rows == 101
    assert asked == [1]


def test_text_of_any_length_and_plane_is_found(series: Any) -> None:
    names = ["k" * 1000 + c for c in "abc"] + [
        "\U0010ffff" * 256,
        "\U0003ffff",
        "🙂",
        "\x01",
        "\uffff",
    ]
    for name in names:
        series.append(METRICS, points(5, key=name))
    for name in names:
        found = series.snapshot(METRICS).scan(PointFilter(keys=(name,)))
        assert found.read_all().num_rows == 5, ascii(name)


# -- the log ------------------------------------------------------------------------------------


def test_marks_outlive_checkpoints_and_clean_up(series: Any, folder: Path) -> None:
    first = {f"early-{i}": i + 1 for i in range(5)}
    series.append(METRICS, sample(METRICS, 5), marks=first)
    for segment in range(1, 60):
        series.append(METRICS, sample(METRICS, 5), marks={"w": segment})
    old = time.time() - 40 * 86_400
    for path in (folder / "_delta_log").iterdir():
        os.utime(path, (old, old))
    for segment in range(60, 90):
        series.append(METRICS, sample(METRICS, 5), marks={"w": segment})
    series.compact(METRICS, keep_hours=0)
    assert len(commits(folder)) < 60
    assert not (folder / "_delta_log" / f"{1:020}.json").exists()
    again = storage_class(series.url)(series.url)
    assert again.snapshot(METRICS).marks() == {**first, "w": 89}
    assert again.append(METRICS, sample(METRICS, 5), marks={"early-0": 1}) is False
    assert again.append(METRICS, sample(METRICS, 5), marks={"w": 90}) is True


def test_a_handle_that_slept_through_a_clean_up_wakes(series: Any, folder: Path) -> None:
    series.append(METRICS, sample(METRICS, 5), marks={"w": 1})
    sleeper = storage_class(series.url)(series.url)
    view = sleeper.snapshot(METRICS)
    for segment in range(2, 40):
        series.append(METRICS, sample(METRICS, 5), marks={"w": segment})
    old = time.time() - 40 * 86_400
    for path in commits(folder):
        os.utime(path, (old, old))
    series.compact(METRICS)
    assert not (folder / "_delta_log" / f"{2:020}.json").exists()
    assert sleeper.snapshot(METRICS).marks() == {"w": 39}
    assert sleeper.snapshot(METRICS).scan().read_all().num_rows == 39 * 5
    assert view.scan().read_all().num_rows == 5


def test_a_lost_race_leaves_no_file(
    series: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series.create(METRICS)
    rival = storage_class(series.url)(series.url)
    module: Any = sys.modules[type(series).__module__]
    real = module.write_files

    def slow(*arguments: Any) -> Any:
        files = real(*arguments)
        monkeypatch.setattr(module, "write_files", real)
        assert rival.append(METRICS, sample(METRICS, 5), marks={"w": 1})
        return files

    monkeypatch.setattr(module, "write_files", slow)
    assert series.append(METRICS, sample(METRICS, 5), marks={"w": 1}) is False
    assert len(parquet(folder)) == 1
    assert series.snapshot(METRICS).scan().read_all().num_rows == 5


def test_a_full_disk_leaves_nothing(
    series: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series.append(METRICS, points(10), marks={"w": 1})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(StoreError, match="No space left"):
            series.append(METRICS, points(10), marks={"w": 2})
    assert len(parquet(folder)) == 1
    assert series.append(METRICS, points(10), marks={"w": 2})


def test_a_forked_child_is_told_and_not_ended(series: Any) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
from mlrun.errors import StoreError
from mlrun.registry import storage_class
from mlrun.tables import METRICS
from mlrun.testing.series_sample import sample
url = sys.argv[1]
series = storage_class(url)(url)
series.append(METRICS, sample(METRICS, 3))
child = os.fork()
if child == 0:
    try:
        storage_class(url)(url).snapshot(METRICS)
    except StoreError as error:
        os._exit(7 if "spawn" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-c", code, series.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "7", done.stderr


def test_a_spawned_child_works(series: Any) -> None:
    series.append(METRICS, points(10))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_count, (series,)) == 10


def _count(series: Any) -> int:
    return int(series.snapshot(METRICS).scan().read_all().num_rows)


# -- compaction ---------------------------------------------------------------------------------


def test_compaction_sorts_over_files(series: Any, folder: Path) -> None:
    for segment in range(1, 31):
        part = pa.concat_tables([points(100, r, start=segment * 100) for r in "ba"])
        series.append(METRICS, part, marks={"w": segment})
    assert series.compact(METRICS, keep_hours=0) == {
        "files_merged": 30, "files_written": 1, "files_freed": 30,
    }  # fmt: skip
    (file,) = parquet(folder)
    merged = pl.read_parquet(file)
    assert merged.height == 6000
    assert merged.equals(merged.sort(METRICS.sort))
    nothing = {"files_merged": 0, "files_written": 0, "files_freed": 0}
    assert series.compact(METRICS, keep_hours=0) == nothing


def test_files_are_kept_for_readers_and_writers(series: Any, folder: Path) -> None:
    for segment in (1, 2):
        series.append(METRICS, points(10, start=segment * 10), marks={"w": segment})
    orphan = folder / "orphan.parquet"
    orphan.write_bytes(b"of a killed writer")
    assert series.compact(METRICS)["files_freed"] == 0
    assert len(parquet(folder)) == 4
    assert series.compact(METRICS, keep_hours=0)["files_freed"] == 2
    assert orphan.exists()  # it may be about to be committed
    old = time.time() - 2 * 3600
    os.utime(orphan, (old, old))
    assert series.compact(METRICS, keep_hours=0)["files_freed"] == 1
    assert len(parquet(folder)) == 1


def test_an_expired_snapshot_says_so(series: Any) -> None:
    for segment in (1, 2):
        series.append(METRICS, points(10, start=segment * 10))
    view = series.snapshot(METRICS)
    series.compact(METRICS, keep_hours=0)
    with pytest.raises(SnapshotExpired, match="ask again"):
        view.scan().read_all()


# -- damage -------------------------------------------------------------------------------------


def test_a_sound_store_has_no_findings(series: Any) -> None:
    for segment in (1, 2):
        series.append(METRICS, points(10, start=segment * 10))
    series.append(ROLLUPS, build(points(100)))
    assert series.check() == []
    assert storage_class("delta://")("delta:///nowhere/at/all").check() == []


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "gone":
        path.unlink()
    elif kind == "short":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "flipped":
        middle = len(data) // 3
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :])


@pytest.mark.parametrize("kind", ["gone", "short", "empty", "flipped"])
def test_a_damaged_file_is_found_and_left_out(series: Any, folder: Path, kind: str) -> None:
    for segment in (1, 2, 3):
        series.append(METRICS, points(1000, f"run-{segment}"), marks={"w": segment})
    damage(parquet(folder)[1], kind)
    lost = series.check()
    assert [f.severity for f in lost] == ["lost"]
    assert "1,000 rows" in lost[0].what
    assert "run-2" in lost[0].what
    assert lost[0].where.startswith("series/metrics/")
    again = storage_class(series.url)(series.url)
    if kind != "flipped":  # a flipped bit is seen by checksums, which only check() compares
        with pytest.raises((CorruptStore, SnapshotExpired)):
            again.snapshot(METRICS).scan().read_all()
    assert again.snapshot(METRICS).scan(PointFilter(run_ids=("run-3",))).read_all().num_rows == 1000
    assert [f.severity for f in series.check(repair=True)] == ["lost", "repaired"]
    assert series.check() == []
    view = series.snapshot(METRICS)
    assert view.scan().read_all().num_rows == 2000
    assert view.marks() == {"w": 3}


@pytest.mark.parametrize("kind", ["short", "empty", "gone"])
@pytest.mark.parametrize("which", ["_last_checkpoint", "checkpoint"])
def test_a_damaged_checkpoint_costs_nothing(
    series: Any, folder: Path, kind: str, which: str
) -> None:
    for segment in range(1, 30):
        series.append(METRICS, points(5, start=segment * 5), marks={"w": segment})
    logs = folder / "_delta_log"
    path = logs / which if which[0] == "_" else next(logs.glob("*.checkpoint.parquet"))
    damage(path, kind)
    findings = series.check(repair=True)
    assert {f.severity for f in findings} <= {"repaired"}
    assert bool(findings) == ((kind, which) != ("gone", "_last_checkpoint"))
    assert series.check() == []
    again = storage_class(series.url)(series.url)
    assert again.snapshot(METRICS).marks() == {"w": 29}
    assert again.snapshot(METRICS).scan().read_all().num_rows == 29 * 5
    assert again.append(METRICS, points(5), marks={"w": 30})


@pytest.mark.parametrize("kind", ["short", "empty"])
def test_a_torn_last_commit_is_put_aside(series: Any, folder: Path, kind: str) -> None:
    for segment in (1, 2, 3):
        series.append(METRICS, points(10, start=segment * 10), marks={"w": segment})
    damage(commits(folder)[-1], kind)
    again = storage_class(series.url)(series.url)
    findings = again.check()
    assert [f.severity for f in findings][:1] == ["lost"]
    assert "newest commit" in findings[0].what
    again.check(repair=True)
    assert again.check() == []
    assert again.snapshot(METRICS).marks() == {"w": 2}
    assert again.append(METRICS, points(10, start=30), marks={"w": 3})
    assert again.snapshot(METRICS).scan().read_all().num_rows == 30


def test_a_torn_commit_in_the_middle_is_told(series: Any, folder: Path) -> None:
    for segment in (1, 2, 3):
        series.append(METRICS, points(10, start=segment * 10), marks={"w": segment})
    damage(commits(folder)[1], "short")
    again = storage_class(series.url)(series.url)
    assert "middle of the log" in " ".join(f.what for f in again.check(repair=True))
    with pytest.raises(CorruptStore, match="doctor"):
        again.snapshot(METRICS)
