"""Small files are merged while the table grows: rarely enough to be cheap, and whatever is killed meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from mlrun.contracts import CanGather
from mlrun.errors import CorruptStore
from mlrun.registry import storage_class
from mlrun.series.rollups import build
from mlrun.tables import METRICS, ROLLUPS
from mlrun.testing.series_sample import rows_of

if TYPE_CHECKING:
    from pathlib import Path

SPAWN = multiprocessing.get_context("spawn")
NOTHING = {"files_merged": 0, "files_written": 0, "files_freed": 0}
KIND = storage_class("delta://")
compaction: Any = import_module(f"{KIND.__module__}_compact")
files_module: Any = import_module(f"{KIND.__module__}_files")
ENOUGH = compaction.GATHER_FILES


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"delta://{tmp_path}/series"


@pytest.fixture
def series(url: str) -> Any:
    return storage_class(url)(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "series" / ROLLUPS.name


def blocks(segment: int, rows: int = 200) -> pa.Table:
    step = np.arange(segment * rows, (segment + 1) * rows)
    time_ = pa.array(1_700_000_000_000_000 + step * 1000, pa.timestamp("us", "UTC"))
    value = np.random.default_rng(segment).standard_normal(rows)
    text = [["p"] * rows, [f"r{segment % 3}"] * rows, ["k"] * rows]
    columns = [*text, step, time_, value, ["w"] * rows, step]
    return build(pa.table(columns, schema=METRICS.schema))


def filled(series: Any, parts: int) -> pa.Table:
    """Append so many parts, one commit each; returns all of their rows."""
    all_parts = [blocks(segment) for segment in range(1, parts + 1)]
    for segment, part in enumerate(all_parts, 1):
        assert series.append(ROLLUPS, part, marks={"w": segment})
    return pa.concat_tables(all_parts)


def holds(url: str, rows: pa.Table, mark: int) -> None:
    """A fresh handle finds exactly these rows and this mark, and refuses what the mark covers."""
    again = storage_class(url)(url)
    view = again.snapshot(ROLLUPS)
    assert view.marks() == {"w": mark}
    assert rows_of(view.scan()) == rows_of(rows)
    assert again.append(ROLLUPS, blocks(mark), marks={"w": mark}) is False


def live(series: Any) -> int:
    return len(series._log(ROLLUPS).state().files)


def test_few_files_are_left_alone(series: Any) -> None:
    assert isinstance(series, CanGather)
    assert series.gather(ROLLUPS) == NOTHING  # there is no table
    filled(series, ENOUGH - 1)
    assert series.gather(ROLLUPS) == NOTHING
    assert live(series) == ENOUGH - 1


def test_enough_files_become_one_and_no_row_or_mark_changes(series: Any, url: str) -> None:
    rows = filled(series, ENOUGH)
    assert series.gather(ROLLUPS) == {**NOTHING, "files_merged": ENOUGH, "files_written": 1}
    assert live(series) == 1
    holds(url, rows, ENOUGH)
    assert series.gather(ROLLUPS) == NOTHING


def test_a_reader_that_began_before_a_merge_reads_on(series: Any, folder: Path) -> None:
    rows = filled(series, ENOUGH)
    view = series.snapshot(ROLLUPS)
    series.gather(ROLLUPS)
    assert rows_of(view.scan()) == rows_of(rows)
    assert len(list(folder.glob("*.parquet"))) == ENOUGH + 1


def test_merged_files_are_freed_by_a_later_merge(
    series: Any, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(series, ENOUGH)
    series.gather(ROLLUPS)
    rows = filled_again(series, ENOUGH + 1, 2 * ENOUGH)
    later = time.time() + 3601
    monkeypatch.setattr(compaction.time, "time", lambda: later)
    assert series.gather(ROLLUPS)["files_freed"] == ENOUGH
    monkeypatch.undo()
    assert (
        len(list(folder.glob("*.parquet"))) == 1 + ENOUGH + 1
    )  # what was merged now is kept for an hour
    holds(url, pa.concat_tables([blocks_upto(ENOUGH), rows]), 2 * ENOUGH)


def filled_again(series: Any, first: int, last: int) -> pa.Table:
    parts = [blocks(segment) for segment in range(first, last + 1)]
    for segment, part in enumerate(parts, first):
        assert series.append(ROLLUPS, part, marks={"w": segment})
    return pa.concat_tables(parts)


def blocks_upto(last: int) -> pa.Table:
    return pa.concat_tables([blocks(segment) for segment in range(1, last + 1)])


# -- which files --------------------------------------------------------------------------------


def state_of(sizes: list[int]) -> Any:
    files = tuple(files_module.DataFile(f"{n:06}", size, size) for n, size in enumerate(sizes))
    return import_module(f"{KIND.__module__}_log").State(0, files)


def chosen(sizes: list[int]) -> list[int]:
    return sorted(f.size for f in compaction._gathered(state_of(sizes)))


def test_a_large_file_is_not_rewritten_for_a_few_small_ones() -> None:
    small, large = [1 << 20] * ENOUGH, 40 << 20
    assert chosen([large, *small]) == small
    assert chosen([large, *small[1:]]) == []
    assert chosen([large, *small * 2]) == [*small * 2, large]
    assert chosen([128 << 20] * 100) == []  # these are as large as files get


def test_many_of_middle_size_are_merged_though_few_are_small() -> None:
    sizes = [1000, 1000, *[8 << 20] * ENOUGH]
    assert chosen(sizes) == sizes


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1_000, 4 << 20), min_size=1, max_size=400))
def test_files_stay_few_and_bytes_are_rewritten_a_few_times(appended: list[int]) -> None:
    held: list[int] = []
    rewritten = 0
    for size in appended:
        held.append(size)
        merged = chosen(held)
        for gone in merged:
            held.remove(gone)
        if merged:
            rewritten += sum(merged)
            held.append(sum(merged))
        small = [s for s in held if s < compaction.SMALL_BYTES]
        assert len(small) < 3 * ENOUGH
    # the bytes of a file are rewritten when they are worth it; trifles cost nothing
    trifles = compaction._TRIFLE_BYTES * (1 + len(appended) // ENOUGH)
    assert rewritten <= 12 * sum(appended) + trifles


# -- whatever happens meanwhile -----------------------------------------------------------------


class Killed(BaseException):
    pass


def test_a_kill_before_the_commit_changes_nothing(
    series: Any, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = filled(series, ENOUGH)
    log = series._log(ROLLUPS)

    def killed(*_: Any, **__: Any) -> bool:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(log, "commit", killed)
        with pytest.raises(Killed):
            series.gather(ROLLUPS)
    assert len(list(folder.glob("*.parquet"))) == ENOUGH + 1  # one that nobody knows
    holds(url, rows, ENOUGH)
    assert series.gather(ROLLUPS)["files_merged"] == ENOUGH
    holds(url, rows, ENOUGH)


def test_a_kill_after_the_commit_leaves_the_merge_done(
    series: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = filled(series, ENOUGH)

    def killed(*_: Any) -> int:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(compaction, "_free", killed)
        with pytest.raises(Killed):
            series.gather(ROLLUPS)
    holds(url, rows, ENOUGH)
    assert series.gather(ROLLUPS) == NOTHING
    assert live(series) == 1


def _gather_and_die(url: str, where: str) -> None:
    """Merge, and be killed by the kernel at a call of this name, before or after it."""
    series: Any = storage_class(url)(url)
    log = series._log(ROLLUPS)
    name, moment = where.split()
    real = getattr(log, name)

    def dying(*given: Any, **more: Any) -> Any:
        if moment == "after":
            real(*given, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(log, name, dying)
    series.gather(ROLLUPS)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("where", ["_present before", "_write before", "_write after"])
def test_a_process_killed_in_a_merge_loses_and_doubles_nothing(
    series: Any, url: str, where: str
) -> None:
    rows = filled(series, ENOUGH)
    child = SPAWN.Process(target=_gather_and_die, args=(url, where))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    holds(url, rows, ENOUGH)
    series.gather(ROLLUPS)
    assert live(series) == 1
    holds(url, rows, ENOUGH)


def test_of_two_that_merge_the_same_files_one_wins_and_the_other_leaves_no_file(
    series: Any, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = filled(series, ENOUGH)
    rival: Any = storage_class(url)(url)
    real = compaction.write_files

    def slow(*given: Any) -> Any:
        written = real(*given)
        monkeypatch.setattr(compaction, "write_files", real)
        assert rival.gather(ROLLUPS)["files_merged"] == ENOUGH
        return written

    monkeypatch.setattr(compaction, "write_files", slow)
    assert series.gather(ROLLUPS) == NOTHING
    assert len(list(folder.glob("*.parquet"))) == ENOUGH + 1
    holds(url, rows, ENOUGH)


def test_an_append_during_a_merge_is_kept(
    series: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = filled(series, ENOUGH)
    writer: Any = storage_class(url)(url)
    more = blocks(ENOUGH + 1)
    real = compaction.write_files

    def slow(*given: Any) -> Any:
        written = real(*given)
        assert writer.append(ROLLUPS, more, marks={"w": ENOUGH + 1})
        return written

    monkeypatch.setattr(compaction, "write_files", slow)
    assert series.gather(ROLLUPS)["files_merged"] == ENOUGH
    assert live(series) == 2
    holds(url, pa.concat_tables([rows, more]), ENOUGH + 1)


def test_readers_see_whole_commits_while_two_merge(series: Any, url: str) -> None:
    series.create(ROLLUPS)
    commits = 3 * ENOUGH
    parts = [blocks(segment) for segment in range(1, commits + 1)]
    sizes = np.cumsum([0, *(part.num_rows for part in parts)])
    done, wrong = threading.Event(), []

    def guarded(work: Any) -> None:
        try:
            work(storage_class(url)(url))
        except BaseException as error:  # noqa: BLE001  told by the test, not by the thread
            wrong.append(error)

    def merge(own: Any) -> None:
        while not done.is_set():
            own.gather(ROLLUPS)

    def look(own: Any) -> None:
        while not done.is_set():
            view = own.snapshot(ROLLUPS)
            assert view.scan().read_all().num_rows == sizes[view.marks().get("w", 0)]

    threads = [threading.Thread(target=guarded, args=(w,)) for w in (merge, merge, look, look)]
    for thread in threads:
        thread.start()
    try:
        for segment, part in enumerate(parts, 1):
            assert series.append(ROLLUPS, part, marks={"w": segment})
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    series.gather(ROLLUPS)
    assert live(series) < ENOUGH
    holds(url, pa.concat_tables(parts), commits)


def test_a_damaged_file_is_told_and_not_merged(series: Any, folder: Path) -> None:
    filled(series, ENOUGH)
    path = sorted(folder.glob("*.parquet"))[3]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    again: Any = storage_class(series.url)(series.url)
    with pytest.raises(CorruptStore, match=path.name):
        again.gather(ROLLUPS)
    assert live(series) == ENOUGH
    assert len(list(folder.glob("*.parquet"))) == ENOUGH
