"""What every series store promises.

Subclass in a test module and give the fixture `url`:

```python
class TestMine(SeriesConformance):
    @pytest.fixture
    def url(self, tmp_path):
        return f"delta://{tmp_path}/series"
```
"""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

from mlrun.contracts import CanCompact, CanDeletePoints, CanDeleteRuns, PointFilter
from mlrun.errors import SchemaMismatch, StoreClosed
from mlrun.registry import storage_class
from mlrun.tables import LOGS, METRICS, Table
from mlrun.testing.series_filters import TABLES, SeriesFilters
from mlrun.testing.series_sample import rows_of, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SeriesConformance"]


_CHILD = """
import sys
from mlrun.registry import storage_class
from mlrun.tables import METRICS
from mlrun.testing.series_sample import sample
url, writer, first, last, rows = sys.argv[1:3] + [int(a) for a in sys.argv[3:6]]
series = storage_class(url)(url)
sys.stdin.readline()
for segment in range(first, last + 1):
    data = sample(METRICS, rows, seed=segment)
    print(int(series.append(METRICS, data, marks={writer: segment})), flush=True)
"""


class SeriesConformance(SeriesFilters):
    """The law of `mlrun.contracts.Series`, as tests over the fixture `url`."""

    @pytest.fixture
    def series(self, url: str) -> Iterator[Any]:
        """Open the store, and close it after the test."""
        store = storage_class(url)(url)
        yield store
        store.close()

    # -- rows ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
    @pytest.mark.parametrize("rows", [0, 1, 3000])
    def test_every_table_round_trips(self, series: Any, table: Table, rows: int) -> None:
        series.create(table)
        data = sample(table, rows)
        assert series.append(table, data) is True
        found = series.snapshot(table).scan().read_all()
        assert found.schema.equals(table.schema)
        assert rows_of(found) == rows_of(data)
        assert rows_of(series.snapshot(table).lazy().collect()) == rows_of(data)

    def test_many_rows(self, series: Any) -> None:
        data = sample(METRICS, 100_000, plain=True)
        assert series.append(METRICS, data)
        found = series.snapshot(METRICS).scan().read_all().sort_by("seq")
        assert found.equals(data.sort_by("seq"))

    def test_times_of_all_ages(self, series: Any) -> None:
        data = sample(METRICS, 4, plain=True)
        times = [-1, 0, 1, 253_402_300_799_999_999]
        data = data.set_column(
            4, METRICS.schema.field("time"), pa.array(times).cast(METRICS.schema.field("time").type)
        )
        series.append(METRICS, data)
        assert rows_of(series.snapshot(METRICS).scan()) == rows_of(data)
        early = series.snapshot(METRICS).scan(PointFilter(times=(None, 0)))
        assert early.read_all().num_rows == 2

    def test_data_in_any_dress(self, series: Any) -> None:
        data = sample(METRICS, 50)
        encoded = data
        for name in ("project", "run_id", "key", "writer"):
            index = encoded.schema.get_field_index(name)
            encoded = encoded.set_column(index, name, encoded.column(name).dictionary_encode())
        turned = pl.DataFrame(data).select(reversed(METRICS.names))
        for number, dress in enumerate(
            (encoded, turned, pa.concat_tables([data.slice(0, 20), data.slice(20)])), 1
        ):
            assert series.append(METRICS, dress, marks={"w": number})
        assert rows_of(series.snapshot(METRICS).scan()) == sorted(rows_of(data) * 3)

    def test_wrong_columns_are_refused(self, series: Any) -> None:
        data = sample(METRICS, 3)
        nothing = pa.nulls(3, pa.string())
        wrong = [
            data.drop_columns(["value"]),
            data.append_column("more", nothing),
            data.set_column(2, pa.field("key", pa.string()), nothing),
            data.set_column(3, "step", pa.array(["a", "b", "c"])),
        ]
        for dress in wrong:
            with pytest.raises(SchemaMismatch):
                series.append(METRICS, dress, marks={"w": 1})
        view = series.snapshot(METRICS)
        assert (view.marks(), rows_of(view.scan())) == ({}, [])

    # -- marks --------------------------------------------------------------------------------

    def test_sent_again_is_written_once(self, series: Any) -> None:
        data = sample(METRICS, 10)
        assert series.append(METRICS, data, marks={"w": 2}) is True
        assert series.append(METRICS, data, marks={"w": 2}) is False
        assert series.append(METRICS, data, marks={"w": 1}) is False
        assert series.append(METRICS, data, marks={"v": 9, "w": 2}) is False
        assert series.append(METRICS, data, marks={"v": 1, "w": 3}) is True
        view = series.snapshot(METRICS)
        assert view.marks() == {"w": 3, "v": 1}
        assert view.scan().read_all().num_rows == 20

    def test_another_handle_knows_the_marks(self, series: Any, url: str) -> None:
        other = storage_class(url)(url)
        other.create(METRICS)
        assert other.snapshot(METRICS).marks() == {}
        assert series.append(METRICS, sample(METRICS, 5), marks={"w": 4})
        assert other.append(METRICS, sample(METRICS, 5), marks={"w": 4}) is False
        assert other.snapshot(METRICS).marks() == {"w": 4}
        other.close()

    def test_tables_have_marks_of_their_own(self, series: Any) -> None:
        assert series.append(METRICS, sample(METRICS, 5), marks={"w": 4})
        assert series.append(LOGS, sample(LOGS, 5), marks={"w": 1})
        assert series.snapshot(LOGS).marks() == {"w": 1}

    def test_marks_without_rows_and_rows_without_marks(self, series: Any) -> None:
        assert series.append(METRICS, sample(METRICS, 0), marks={"w": 1})
        assert series.append(METRICS, sample(METRICS, 0), marks={"w": 1}) is False
        assert series.append(METRICS, sample(METRICS, 3))
        assert series.append(METRICS, sample(METRICS, 3))
        view = series.snapshot(METRICS)
        assert (view.marks(), view.scan().read_all().num_rows) == ({"w": 1}, 6)

    def test_many_marks_at_once(self, series: Any) -> None:
        marks = {f"w-{i:012x}": i + 1 for i in range(300)}
        assert series.append(METRICS, sample(METRICS, 3), marks=marks)
        assert series.snapshot(METRICS).marks() == marks

    def test_two_processes_race_for_the_same_segments(self, series: Any, url: str) -> None:
        series.create(METRICS)
        answers = self._children([[url, "w", "1", "8", "20"]] * 2)
        assert [sum(pair) for pair in zip(*answers, strict=True)] == [1] * 8
        view = series.snapshot(METRICS)
        assert view.marks() == {"w": 8}
        expected = pa.concat_tables([sample(METRICS, 20, seed=s) for s in range(1, 9)])
        assert rows_of(view.scan()) == rows_of(expected)

    def test_a_killed_append_is_whole_or_nothing(self, series: Any, url: str) -> None:
        acknowledged = 0
        for attempt in range(3):
            child = self._child([url, "w", "1", "200", "500"])
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("\n")
            child.stdin.flush()
            lines = [child.stdout.readline() for _ in range(acknowledged + 1)]
            time.sleep(random.Random(attempt).random() * 0.05)
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.readlines()
            child.wait()
            child.stdin.close()
            child.stdout.close()
            acknowledged = max(acknowledged, len([li for li in lines if li.strip()]))
            view = series.snapshot(METRICS)
            done = view.marks().get("w", 0)
            assert done >= acknowledged
            expected = [sample(METRICS, 500, seed=s) for s in range(1, done + 1)]
            assert rows_of(view.scan()) == rows_of(pa.concat_tables(expected))

    def _child(self, arguments: list[str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _CHILD, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _children(self, arguments: list[list[str]]) -> list[list[int]]:
        """Run children that begin together; return what each append answered."""
        children = [self._child(a) for a in arguments]
        out = []
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        for child in children:
            told, _ = child.communicate(timeout=120)
            assert child.returncode == 0
            out.append([int(line) for line in told.split()])
        return out

    # -- snapshots ----------------------------------------------------------------------------

    def test_a_snapshot_never_changes(self, series: Any) -> None:
        first = sample(METRICS, 100, seed=1)
        series.append(METRICS, first, marks={"w": 1})
        view = series.snapshot(METRICS)
        lazy = view.lazy()
        series.append(METRICS, sample(METRICS, 100, seed=2), marks={"w": 2})
        if isinstance(series, CanDeleteRuns):
            series.delete_runs(METRICS, ["run-1"])
        if isinstance(series, CanCompact):
            series.compact(METRICS)
        assert view.marks() == {"w": 1}
        assert rows_of(view.scan()) == rows_of(first)
        assert rows_of(lazy.collect()) == rows_of(first)

    def test_a_scan_begun_goes_on(self, series: Any) -> None:
        for segment in (1, 2, 3):
            series.append(METRICS, sample(METRICS, 500, seed=segment))
        reader = series.snapshot(METRICS).scan()
        rows = reader.read_next_batch().num_rows
        if isinstance(series, CanCompact):
            series.compact(METRICS, keep_hours=0)
        assert rows + reader.read_all().num_rows == 1500

    def test_an_absent_table_is_empty(self, series: Any) -> None:
        for table in TABLES:
            view = series.snapshot(table)
            assert view.marks() == {}
            assert view.scan().read_all().equals(table.schema.empty_table())
            assert view.lazy().collect().columns == list(table.names)

    # -- many at once -------------------------------------------------------------------------

    def test_threads_lose_nothing(self, series: Any) -> None:
        def work(number: int) -> None:
            for segment in range(1, 6):
                data = sample(METRICS, 20, seed=number * 100 + segment)
                assert series.append(METRICS, data, marks={f"w{number}": segment})
                assert series.snapshot(METRICS).marks()[f"w{number}"] == segment

        _together([lambda n=n: work(n) for n in range(8)])  # type: ignore[misc]
        view = series.snapshot(METRICS)
        assert view.marks() == {f"w{n}": 5 for n in range(8)}
        assert view.scan().read_all().num_rows == 8 * 5 * 20

    def test_processes_lose_nothing(self, series: Any, url: str) -> None:
        answers = self._children([[url, f"w{n}", "1", "6", "30"] for n in range(3)])
        assert answers == [[1] * 6] * 3
        view = series.snapshot(METRICS)
        assert view.marks() == {f"w{n}": 6 for n in range(3)}
        assert view.scan().read_all().num_rows == 3 * 6 * 30

    def test_create_again_and_in_a_race(self, series: Any, url: str) -> None:
        stores = [storage_class(url)(url) for _ in range(6)]
        _together([lambda s=s: s.create(*TABLES) for s in stores])  # type: ignore[misc]
        series.create(*TABLES)
        series.append(METRICS, sample(METRICS, 3))
        series.create(*TABLES)
        assert series.snapshot(METRICS).scan().read_all().num_rows == 3
        for store in stores:
            store.close()

    def test_pickles(self, series: Any) -> None:
        series.append(METRICS, sample(METRICS, 3))
        again = pickle.loads(pickle.dumps(series))
        assert again.snapshot(METRICS).scan().read_all().num_rows == 3
        again.close()

    def test_closed(self, url: str) -> None:
        store = storage_class(url)(url)
        store.append(METRICS, sample(METRICS, 3))
        store.close()
        store.close()
        with pytest.raises(StoreClosed):
            store.snapshot(METRICS)
        with pytest.raises(StoreClosed):
            store.append(METRICS, sample(METRICS, 3))

    # -- abilities ----------------------------------------------------------------------------

    @pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
    def test_compaction_changes_no_row(self, series: Any, table: Table) -> None:
        if not _can(series, CanCompact):
            pytest.skip("this store has nothing to compact")
        parts = [sample(table, 300, seed=seed) for seed in range(1, 7)]
        for segment, part in enumerate(parts, 1):
            series.append(table, part, marks={"w": segment})
        series.compact(table, keep_hours=0)
        view = series.snapshot(table)
        assert rows_of(view.scan()) == rows_of(pa.concat_tables(parts))
        assert view.marks() == {"w": 6}
        assert series.append(table, parts[0], marks={"w": 6}) is False

    def test_compaction_beside_writers(self, series: Any) -> None:
        if not _can(series, CanCompact):
            pytest.skip("this store has nothing to compact")
        series.create(METRICS)

        def write() -> None:
            for segment in range(1, 16):
                assert series.append(
                    METRICS, sample(METRICS, 50, seed=segment), marks={"w": segment}
                )

        def merge() -> None:
            for _ in range(5):
                series.compact(METRICS)

        _together([write, merge, merge])
        expected = pa.concat_tables([sample(METRICS, 50, seed=s) for s in range(1, 16)])
        assert rows_of(series.snapshot(METRICS).scan()) == rows_of(expected)

    @pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
    def test_deleted_runs_are_gone(self, series: Any, table: Table) -> None:
        if not _can(series, CanDeleteRuns):
            pytest.skip("this store cannot delete runs")
        parts = [sample(table, 300, seed=seed) for seed in (1, 2)]
        for segment, part in enumerate(parts, 1):
            series.append(table, part, marks={"w": segment})
        frame = pl.DataFrame(pa.concat_tables(parts))
        kept = frame.filter(~pl.col("run_id").is_in(["run-1", "run-4"]))
        gone = series.delete_runs(table, ["run-1", "run-4", "unknown"])
        assert gone == frame.height - kept.height
        assert series.delete_runs(table, ["run-1"]) == 0
        assert series.delete_runs(table, []) == 0
        view = series.snapshot(table)
        assert rows_of(view.scan()) == rows_of(kept)
        assert view.marks() == {"w": 2}

    def test_some_series_of_a_run_are_deleted_and_the_rest_stays(self, series: Any) -> None:
        if not _can(series, CanDeletePoints):
            pytest.skip("no deletion of points")
        rows = pl.DataFrame(sample(METRICS, 900, seed=1))
        series.append(METRICS, rows.to_arrow(), marks={"w": 1})
        keys = rows["key"].unique().sort().to_list()
        first = PointFilter(run_ids=("run-1", "run-2", "unknown"), keys=(keys[0], "'; --"))
        hit = pl.col("run_id").is_in(["run-1", "run-2"]) & (pl.col("key") == keys[0])
        old = series.snapshot(METRICS)
        assert series.delete_points(METRICS, first) == rows.filter(hit).height > 0
        assert series.delete_points(METRICS, first) == 0
        assert series.delete_points(METRICS, PointFilter(run_ids=())) == 0
        second = PointFilter(run_ids=("run-3",), steps=(None, 300))
        low = (pl.col("run_id") == "run-3") & (pl.col("step") <= 300)
        assert series.delete_points(METRICS, second) == rows.filter(low).height > 0
        kept = rows.filter(~hit & ~low)
        view = series.snapshot(METRICS)
        assert rows_of(view.scan()) == rows_of(kept)
        assert rows_of(old.scan()) == rows_of(rows)
        for run_ids in (("run-1",), ("run-3", "run-0")):
            found = view.scan(PointFilter(run_ids=run_ids)).read_all()
            assert rows_of(found) == rows_of(kept.filter(pl.col("run_id").is_in(run_ids)))
        assert series.append(METRICS, rows.filter(hit).to_arrow(), marks={"w": 2})  # may come again
        if _can(series, CanCompact):
            series.compact(METRICS, keep_hours=0)
        assert rows_of(series.snapshot(METRICS).scan()) == rows_of(rows.filter(~low))


def _can(store: Any, ability: type) -> bool:
    return isinstance(store, ability)


def _together(works: list[Callable[[], None]]) -> None:
    """Run functions in threads that begin together; fail with what the first of them raised."""
    barrier = threading.Barrier(len(works))
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait()
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(w,)) for w in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
