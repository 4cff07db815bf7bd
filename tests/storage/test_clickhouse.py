from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

import mlrun
from mlrun.contracts import CanRollUp, PointFilter
from mlrun.errors import ConfigError, SnapshotExpired, StoreError, StoreVersionError
from mlrun.registry import storage_class
from mlrun.storage import (
    clickhouse_compact,
    clickhouse_lazy,
    clickhouse_log,
    clickhouse_scan,
    clickhouse_schema,
)
from mlrun.store import open_store
from mlrun.tables import LOGS, METRICS, ROLLUPS
from mlrun.testing.clickhouse import ClickHouseServer
from mlrun.testing.series import SeriesConformance
from mlrun.testing.series_sample import T0, rows_of, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.storage.clickhouse_log import State

pytestmark = [pytest.mark.clickhouse, pytest.mark.xdist_group("clickhouse")]
EMBEDDED = Path(__file__).with_name("clickhouse_in_process.py")


class TestClickHouse(SeriesConformance):
    @pytest.fixture
    def url(self, clickhouse_url: str) -> str:
        return clickhouse_url


@pytest.fixture
def opened(clickhouse_url: str) -> Iterator[Callable[[], Any]]:
    """Open handles of one database that know nothing of each other."""
    handles: list[Any] = []

    def open_one() -> Any:
        handles.append(storage_class(clickhouse_url)(clickhouse_url))
        return handles[-1]

    yield open_one
    for handle in handles:
        handle.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let deleted rows be freed at once, and every snapshot be so old that it asks for that."""
    monkeypatch.setattr(clickhouse_compact, "SAFE_SECONDS", 0.0)
    monkeypatch.setattr(clickhouse_scan, "SAFE_SECONDS", 0.0)


@pytest.fixture
def table(clickhouse: ClickHouseServer, clickhouse_url: str) -> str:
    """The name of METRICS on the server."""
    return f"{clickhouse_url.rpartition('/')[2]}.metrics"


def stored(handle: Any) -> int:
    return int(handle.snapshot(METRICS).scan().read_all().num_rows)


# -- exactly once ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.soak  # the same engine behind a server keeps the same law above
def test_the_law_holds_for_the_engine_in_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [
            *command,
            f"--basetemp={tmp_path}/pt",
            "-c",
            str(EMBEDDED.parents[2] / "pyproject.toml"),
            str(EMBEDDED),
        ],
        cwd=EMBEDDED.parents[2],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_group_that_holds_what_is_there_is_refused_whole(opened: Any) -> None:
    one, two = opened(), opened()
    two.create(METRICS)
    assert two.append(METRICS, sample(METRICS, 1), marks={"other": 1})  # its sight is young now
    assert one.append(METRICS, sample(METRICS, 2), marks={"w": (3 << 32) + 7})
    late = {"v": 1, "w": (3 << 32) + 7}
    assert two.append(METRICS, sample(METRICS, 5), marks=late) is False
    assert two.append(METRICS, sample(METRICS, 5), marks={"v": 1}) is True
    assert stored(one) == 8
    assert one.snapshot(METRICS).marks() == {"other": 1, "w": (3 << 32) + 7, "v": 1}


def test_rows_that_begin_before_a_mark_are_refused(opened: Any) -> None:
    one, two = opened(), opened()
    assert one.append(METRICS, points_of("w", 0, 100), marks={"w": 100})
    more = pa.concat_tables([points_of("w", 0, 150), points_of("v", 0, 10)])
    assert two.append(METRICS, more, marks={"w": 150, "v": 10}) is False
    rest = pa.concat_tables([points_of("w", 100, 50), points_of("v", 0, 10)])
    assert two.append(METRICS, rest, marks={"w": 150, "v": 10}) is True
    found = one.snapshot(METRICS).scan(columns=["seq"]).read_all().column(0).to_pylist()
    assert sorted(found) == sorted([*range(150), *range(10)])


def test_an_insert_that_comes_late_stores_nothing(opened: Any) -> None:
    series = opened()
    for segment in range(1, 4):
        series.append(METRICS, sample(METRICS, 10), marks={"w": segment})
    log = series._log(METRICS)
    rows, lines = sample(METRICS, 10), [(2, "w", 9)]
    state, owner = log._insert(2, "me", rows, lines)  # as if it had been stopped since then
    assert (state.commit, owner == "me") == (3, False)
    block = pa.table(log.client.stream(f"SELECT * FROM {log.name} LIMIT 1").read_all())
    log.client.insert(  # its number is forgotten already
        log.name,
        block,
        token="forgotten",
        condition=f"(SELECT max(mlrun_commit) FROM {log.name} WHERE mlrun_kind > 0) < 2",
        struct=clickhouse_schema.struct(METRICS),
    )
    assert stored(series) == 30
    assert series.snapshot(METRICS).marks() == {"w": 3}


def test_a_number_that_nobody_has_and_nobody_gets_is_skipped(
    opened: Any, clickhouse: ClickHouseServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_log, "_GHOST_SECONDS", 0.1)
    series = opened()
    series.append(METRICS, sample(METRICS, 10), marks={"w": 1})
    series.append(METRICS, sample(METRICS, 10), marks={"w": 2})
    clickhouse.sql(f"ALTER TABLE {table} DELETE WHERE mlrun_commit = 2 SETTINGS mutations_sync = 2")
    other = opened()
    assert other.snapshot(METRICS).marks() == {"w": 1}
    assert other.append(METRICS, sample(METRICS, 10), marks={"w": 2}) is True
    assert stored(other) == 20
    assert other._log(METRICS).state().commit == 3


def test_a_large_append_is_one_part(opened: Any, clickhouse: ClickHouseServer, table: str) -> None:
    series = opened()
    small = sample(METRICS, 1000, plain=True)
    series.append(METRICS, pa.concat_tables([small] * 2200), marks={"w": 1})
    found = clickhouse.sql(f"SELECT uniqExact(_part), count() FROM {table} WHERE mlrun_commit = 1")
    assert found.split() == ["1", str(2_200_000 + 2)]


def test_what_was_acknowledged_survives_a_killed_server(tmp_path: Path) -> None:
    with ClickHouseServer(folder=tmp_path) as server:
        series = storage_class("clickhouse:")(server.url("d"))
        for segment in range(1, 6):
            assert series.append(METRICS, sample(METRICS, 50, seed=segment), marks={"w": segment})
        server.kill()
        with pytest.raises(StoreError, match=r"default@127\.0\.0\.1"):
            series.append(METRICS, sample(METRICS, 1), marks={"w": 6})
        series.close()
        server.start()
        series = storage_class("clickhouse:")(server.url("d"))
        view = series.snapshot(METRICS)
        assert view.marks() == {"w": 5}
        expected = pa.concat_tables([sample(METRICS, 50, seed=s) for s in range(1, 6)])
        assert rows_of(view.scan()) == rows_of(expected)
        assert series.append(METRICS, sample(METRICS, 50), marks={"w": 5}) is False
        assert series.append(METRICS, sample(METRICS, 50), marks={"w": 6}) is True
        series.close()


# -- places, passwords, versions ------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse:///nowhere", "clickhouse+chdb://", "clickhouse+chdb://host/folder",
        "clickhouse://host/d?colour=red", "postgresql://host/d",
    ],
)  # fmt: skip
def test_an_url_without_meaning_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        storage_class("clickhouse:")(url)


def test_no_password_is_shown_or_pickled(tmp_path: Path) -> None:
    with ClickHouseServer(password="hunter2", folder=tmp_path) as server:
        url = server.url("d")
        series = storage_class(url)(url)
        assert series.append(METRICS, sample(METRICS, 3))
        assert "hunter2" not in repr(series)
        assert b"hunter2" not in pickle.dumps(series)
        again = pickle.loads(pickle.dumps(series))
        assert stored(again) == 3
        wrong = storage_class(url)(url.replace("hunter2", "hunter3"))
        with pytest.raises(StoreError, match="Authentication failed") as told:
            wrong.snapshot(METRICS)
        assert "hunter" not in str(told.value)
        server.kill()
        with pytest.raises(StoreError) as told:
            series.snapshot(METRICS)
        assert "hunter2" not in repr(told.value)
        for handle in (series, again, wrong):
            handle.close()


def test_a_newer_database_is_refused_and_an_older_one_migrated(
    opened: Any, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened().versions() == (0, 1)
    opened().append(METRICS, sample(METRICS, 3))
    done: list[int] = []
    newer = {"VERSION": 3, "MIGRATIONS": {1: lambda _: done.append(1), 2: lambda _: done.append(2)}}
    with monkeypatch.context() as patch:
        for name, value in newer.items():
            patch.setattr(clickhouse_schema, name, value)
        for use in ("snapshot", "create"):
            with pytest.raises(StoreVersionError, match="`mlrun server migrate` brings it there"):
                getattr(opened(), use)(METRICS)
        assert opened().versions() == (1, 3)
        assert "BACKUP DATABASE" in opened().backup_command()
        opened().migrate()
        opened().migrate()
        assert (done, opened().versions()) == ([1, 2], (3, 3))
        assert stored(opened()) == 3
    with pytest.raises(StoreVersionError, match="version 3, this mlrun reads up to 1"):
        opened().snapshot(METRICS)
    with pytest.raises(StoreVersionError, match="version 3, this mlrun reads up to 1"):
        opened().create(METRICS)


def test_a_forked_child_has_connections_of_its_own(opened: Any) -> None:
    series = opened()
    series.append(METRICS, sample(METRICS, 3), marks={"w": 1})
    script = """
        import os, sys
        from mlrun.registry import storage_class
        from mlrun.tables import METRICS
        from mlrun.testing.series_sample import sample
        series = storage_class(sys.argv[1])(sys.argv[1])
        assert series.snapshot(METRICS).marks() == {"w": 1}
        pid = os.fork()
        done = series.append(METRICS, sample(METRICS, 3), marks={"wc"[pid == 0]: 2})
        if pid == 0:
            os._exit(0 if done else 1)
        assert done and os.waitpid(pid, 0)[1] == 0
    """
    lines = "\n".join(line.strip() if "os._exit" not in line else "    os._exit(0 if done else 1)"
                      for line in script.strip().splitlines())  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(EMBEDDED.parents[2]), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", lines, series.url],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert series.snapshot(METRICS).marks() == {"w": 2, "c": 2}


# -- upkeep ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
def test_a_snapshot_whose_rows_were_freed_says_so(opened: Any) -> None:
    series = opened()
    series.append(METRICS, sample(METRICS, 200, seed=1))
    old = series.snapshot(METRICS)
    assert series.delete_runs(METRICS, ["run-1"]) > 0
    new = series.snapshot(METRICS)
    kept = rows_of(new.scan())
    series.compact(METRICS, keep_hours=0)
    with pytest.raises(SnapshotExpired):
        old.scan()
    with pytest.raises(SnapshotExpired):
        old.lazy().collect()
    assert rows_of(new.scan()) == rows_of(series.snapshot(METRICS).scan()) == kept
    assert rows_of(opened().snapshot(METRICS).scan()) == kept


def test_rows_are_not_freed_under_a_young_snapshot(opened: Any) -> None:
    series = opened()
    series.append(METRICS, sample(METRICS, 200, seed=1))
    old = series.snapshot(METRICS)
    series.delete_runs(METRICS, ["run-1"])
    series.compact(METRICS, keep_hours=0)
    assert old.scan().read_all().num_rows == 200


@pytest.mark.usefixtures("at_once")
def test_a_deleted_run_may_come_again(opened: Any) -> None:
    series = opened()
    rows = sample(METRICS, 200, seed=1)
    series.append(METRICS, rows)
    series.delete_runs(METRICS, ["run-1"])
    again = pl.DataFrame(rows).filter(pl.col("run_id") == "run-1").to_arrow()
    for _ in range(2):
        series.append(METRICS, again)
        found = series.snapshot(METRICS).scan(PointFilter(run_ids=("run-1",))).read_all()
        assert rows_of(found) == rows_of(again)
        series.compact(METRICS, keep_hours=0)
        found = opened().snapshot(METRICS).scan(PointFilter(run_ids=("run-1",))).read_all()
        assert rows_of(found) == rows_of(again)
        assert series.delete_runs(METRICS, ["run-1"]) == again.num_rows


def test_compaction_keeps_the_log_short(
    opened: Any, clickhouse: ClickHouseServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_compact, "_LONG_LOG", 20)
    series, beside = opened(), opened()
    for segment in range(1, 30):
        series.append(METRICS, sample(METRICS, 2, seed=segment), marks={f"w{segment % 3}": segment})
        if segment == 10:
            assert beside.snapshot(METRICS).marks() == {"w0": 9, "w1": 10, "w2": 8}
    for name in ("w0", "w1", "w2"):  # as if rolled up: else the lines are needed
        series.append(ROLLUPS, sample(ROLLUPS, 1), marks={name: 29})
    series.compact(METRICS)
    lines = clickhouse.sql(f"SELECT count() FROM {table} WHERE mlrun_kind > 0")
    assert int(lines) == 4
    for handle in (series, beside, opened()):
        assert handle.snapshot(METRICS).marks() == {"w0": 27, "w1": 28, "w2": 29}
        assert handle.append(METRICS, sample(METRICS, 2), marks={"w0": 27}) is False
        assert stored(handle) == 58
    assert beside.append(METRICS, sample(METRICS, 2), marks={"w0": 30}) is True


@pytest.mark.usefixtures("at_once")
def test_rows_that_are_missing_are_found(
    opened: Any, clickhouse: ClickHouseServer, table: str
) -> None:
    series = opened()
    series.append(METRICS, sample(METRICS, 200, seed=1))
    series.append(LOGS, sample(LOGS, 20))
    series.delete_runs(METRICS, ["run-0"])
    assert series.check() == []
    series.compact(METRICS, keep_hours=0)
    series.append(METRICS, sample(METRICS, 200, seed=2))
    assert series.check() == []
    clickhouse.sql(f"ALTER TABLE {table} DELETE WHERE run_id = 'run-2' SETTINGS mutations_sync = 2")
    [found] = series.check()
    assert (found.severity, found.where) == ("lost", "series/metrics")
    assert "of its 200 rows" in found.what


def test_rows_go_after_their_time_and_the_log_stays(
    clickhouse_url: str, clickhouse: ClickHouseServer, table: str
) -> None:
    url = f"{clickhouse_url}?retention_days=30"
    series = storage_class(url)(url)
    series.append(METRICS, sample(METRICS, 20), marks={"w": 1})  # of the year 2023
    clickhouse.sql(f"OPTIMIZE TABLE {table} FINAL")
    view = series.snapshot(METRICS)
    assert (view.marks(), view.scan().read_all().num_rows) == ({"w": 1}, 0)
    assert series.append(METRICS, sample(METRICS, 20), marks={"w": 1}) is False
    series.close()


# -- lazy frames ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        (pl.col("run_id") == "run-1", "`run_id` ="),
        (pl.col("key").is_in(["a", "'; drop table runs; --"]), "`key` IN"),
        ((pl.col("step") >= 10) & (pl.col("step") < 500) & (pl.col("value") > 0), "`step` <"),
        (pl.lit(10) < pl.col("step"), "`step` >"),
        (pl.col("time") > pl.lit(T0 + 400).cast(pl.Datetime("us", "UTC")), "`time` >"),
        ((pl.col("run_id") == "run-1") | (pl.col("step") == 3), ""),
        (~pl.col("run_id").is_in(["run-1", "run-2"]), ""),
        (pl.col("step") > 3.5, ""),
        (pl.col("value").is_nan(), ""),
    ],
    ids=str,
)
def test_lazy_frames_tell_the_server_what_they_can(
    opened: Any, monkeypatch: pytest.MonkeyPatch, condition: pl.Expr, told: str
) -> None:
    series = opened()
    rows = sample(METRICS, 1000)
    series.append(METRICS, rows)
    asked: list[str] = []
    real = clickhouse_lazy.read

    def read(log: Any, state: State, clauses: Any, columns: Any) -> Any:
        asked.append(clauses.sql())
        return real(log, state, clauses, columns)

    monkeypatch.setattr(clickhouse_lazy, "read", read)
    lazy = series.snapshot(METRICS).lazy()
    expected = pl.DataFrame(rows).filter(condition)
    assert rows_of(lazy.filter(condition).collect()) == rows_of(expected)
    assert told in asked[0]
    if not told:
        assert "`" not in asked[0].replace("`metrics`", "").partition("throwIf")[0]
    assert lazy.filter(condition).select(pl.len()).collect().item() == expected.height
    assert lazy.filter(condition).head(5).collect().height == min(5, expected.height)


# -- rollups --------------------------------------------------------------------------------------


def points_of(writer: str, first: int, rows: int, run: str = "r") -> pa.Table:
    steps = range(first, first + rows)
    return pa.table({
        "project": ["p"] * rows, "run_id": [run] * rows, "key": ["k"] * rows,
        "step": pa.array(steps, pa.int64()),
        "time": pa.array([T0 + s for s in steps]).cast(METRICS.schema.field("time").type),
        "value": pa.array([float(s * s % 1009) for s in steps]),
        "writer": [writer] * rows, "seq": pa.array(steps, pa.int64()),
    }, schema=METRICS.schema)  # fmt: skip


@pytest.mark.parametrize("axis", ["step", "relative"])
def test_a_chart_shows_points_that_wait_for_their_rollups(
    clickhouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axis: str
) -> None:
    monkeypatch.setenv("MLRUN_SERIES_URL", clickhouse_url)
    store = open_store(tmp_path / "store")
    store.prepare()
    series: Any = store.series
    chance = random.Random(1)
    first = 0
    for number in range(1, 40):
        if number % 7 == 0:  # a step is logged again, in the middle of what is rolled up
            first -= 30
        rows = points_of("w", first, count := chance.randrange(20, 400))
        first += count
        assert series.append(METRICS, rows, marks={"w": number})
        if number % 13 == 0:
            assert series.roll_up(least=1) > 0
        if number % 5 == 0:
            every = mlrun.metrics("r", "k", x=axis, last=True, store=store)
            chart = mlrun.metrics("r", "k", x=axis, points=20, store=store)
            assert chart.height <= 20
            assert chart.join(every, on=["step", "value"], how="semi").height == chart.height
            for end in (0, -1):
                assert chart["step"][end] == every["step"][end]
            assert chart["value"].max() == every["value"].max()
            assert chart["value"].min() == every["value"].min()
    assert mlrun.metrics("r", points=10, store=store)["key"].unique().to_list() == ["k"]


def test_a_short_log_keeps_what_is_not_rolled_up(
    opened: Any, clickhouse: ClickHouseServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_compact, "_LONG_LOG", 20)
    series = opened()
    for first in range(0, 2000, 50):
        series.append(METRICS, points_of("w", first, 50), marks={"w": first + 50})
        if first == 1500:
            assert series.roll_up(least=1) == 1550
    series.compact(METRICS)
    other = opened()
    assert int(clickhouse.sql(f"SELECT count() FROM {table} WHERE mlrun_kind > 0")) == 2 + 2 * 9
    assert other.snapshot(METRICS).marks() == {"w": 2000}
    rolled = other.snapshot(ROLLUPS).marks()
    assert rolled == {"w": 1550}
    assert other.snapshot(METRICS).waiting(rolled).num_rows == 450
    assert other.roll_up(least=1) == 450
    assert other.snapshot(ROLLUPS).marks() == {"w": 2000}
    assert series.check() == []


def test_points_that_came_without_rollups_get_them_once(opened: Any) -> None:
    series = opened()
    assert issubclass(type(series), CanRollUp)
    series.create(METRICS, ROLLUPS)
    for first in range(0, 3000, 100):
        series.append(METRICS, points_of("w", first, 100), marks={"w": first + 100})
    series.append(METRICS, points_of("v", 0, 50, "s"), marks={"v": 50})
    series.append(METRICS, points_of("w", 0, 70, "imported"))  # brings rollups of its own
    assert series.roll_up(least=1_000_000) == 0
    view = series.snapshot(METRICS)
    assert view.waiting({}).num_rows == 3050
    assert view.waiting({}, known=["w"]).num_rows == 50
    assert view.waiting({"w": 2900, "v": 50}, columns=["step"]).num_rows == 100
    assert series.roll_up(least=1) == 3050
    assert opened().roll_up(least=1) == 0
    rollups = series.snapshot(ROLLUPS)
    assert rollups.marks() == {"w": 3000, "v": 50}
    whole = pl.DataFrame(rollups.scan(PointFilter(levels=(-1,))).read_all())
    assert sorted(whole.select("run_id", "count").rows()) == [("r", 3000), ("s", 50)]
    assert series.snapshot(METRICS).waiting(rollups.marks()).num_rows == 0
    assert series.append(ROLLUPS, sample(ROLLUPS, 3), marks={"w": 3000}) is False
