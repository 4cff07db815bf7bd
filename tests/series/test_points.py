from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import mlrun
from mlrun.errors import QueryError, SnapshotExpired
from mlrun.registry import storage_class
from mlrun.series import points as module
from mlrun.series.points import metrics
from mlrun.series.rollups import build
from mlrun.store import Store, open_store
from mlrun.tables import METRICS, ROLLUPS, SYSTEM_METRICS, Table

Row = tuple[Any, ...]  # run, key, step, time, value
T0 = 1_700_000_000_000_000


def table_of(rows: list[Row], first_seq: int = 0, writer: str = "w") -> pa.Table:
    columns = {
        "project": ["p"] * len(rows),
        "run_id": [r[0] for r in rows],
        "key": [r[1] for r in rows],
        "step": pa.array([r[2] for r in rows], pa.int64()),
        "time": pa.array([r[3] for r in rows], pa.timestamp("us", "UTC")),
        "value": pa.array([r[4] for r in rows], pa.float64()),
        "writer": [writer] * len(rows),
        "seq": pa.array(range(first_seq, first_seq + len(rows)), pa.int64()),
    }
    return pa.table(columns, schema=METRICS.schema)


def absorb(store: Any, rows: list[Row], segment: int, table: Table = METRICS) -> None:
    part = table_of(rows, segment << 32)
    assert store.series.append(table, part, marks={"w": segment})
    if table is METRICS:
        assert store.series.append(ROLLUPS, build(part), marks={"w": segment})


class Journal:
    """A journal that holds segments of one writer, absorbed or not."""

    findings: tuple[Any, ...] = ()

    def __init__(self, segments: dict[int, list[Row]]) -> None:
        self.segments = segments

    def points(
        self, table: str, *, after: dict[str, int], run_ids: Any = None, keys: Any = None
    ) -> pa.Table:
        parts = [table_of([])]
        for number, rows in self.segments.items():
            if number > after.get("w", 0):
                parts.append(table_of(rows, number << 32))
        frame = pl.DataFrame(pa.concat_tables(parts))
        if run_ids is not None:
            frame = frame.filter(pl.col("run_id").is_in(list(run_ids)))
        if keys is not None:
            frame = frame.filter(pl.col("key").is_in(list(keys)))
        return frame.to_arrow().cast(METRICS.schema)


@pytest.fixture
def store(tmp_path: Path, series_url: str) -> Store:
    return open_store(tmp_path / "store")


def rows_of(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    plain = frame.with_columns(pl.col("time").cast(pl.Int64))
    return [tuple("nan" if v != v else v for v in row) for row in plain.iter_rows()]


def line(run: str, key: str, steps: range, gap: int = 1000) -> list[Row]:
    return [(run, key, s, T0 + i * gap, float(s)) for i, s in enumerate(steps)]


# -- every row ----------------------------------------------------------------------------------

row = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["x", "y"]),
    st.integers(0, 6),
    st.integers(T0, T0 + 5),
    st.sampled_from([0.0, 1.0, math.inf, math.nan]),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    segments=st.lists(st.lists(row, max_size=12), min_size=1, max_size=4),
    absorbed=st.integers(0, 4),
    unlinked=st.booleans(),
    last=st.booleans(),
    axis=st.sampled_from(["step", "time"]),
    low=st.none() | st.integers(-1, 7),
    high=st.none() | st.integers(-1, 7),
)
def test_journal_and_store_are_one(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    segments: list[list[Row]], absorbed: int, unlinked: bool, last: bool, axis: str,
    low: int | None, high: int | None,
) -> None:  # fmt: skip
    url = f"delta://{tmp_path_factory.mktemp('s')}"
    store = SimpleNamespace(journal=Path("unused"), series=storage_class(url)(url))
    numbered = {n + 1: rows for n, rows in enumerate(segments)}
    for number in list(numbered)[:absorbed]:
        absorb(store, numbered[number], number)
    kept = {n: rows for n, rows in numbered.items() if n > absorbed or not unlinked}
    monkeypatch.setattr(module, "read_journal", lambda _: Journal(kept))

    everything = [r for rows in segments for r in rows]
    offset = 0 if axis == "step" else T0
    column = 2 if axis == "step" else 3
    inside = [
        (i, r)
        for i, r in enumerate(everything)
        if (low is None or r[column] >= low + offset)
        and (high is None or r[column] <= high + offset)
    ]
    inside.sort(key=lambda p: (*p[1][:2], p[1][2], p[1][3], p[0]))
    if last:
        newest = {r[:3]: (i, r) for i, r in inside}
        inside = list(newest.values())
    if axis == "time":
        inside.sort(key=lambda p: (*p[1][:2], p[1][3], p[0]))
    found = metrics(
        store,  # type: ignore[arg-type]
        ["b", "a", "a"],
        x=axis,
        start=None if low is None else low + offset,
        end=None if high is None else high + offset,
        last=last,
    )
    assert found.columns == ["run_id", "key", "step", "time", "value"]
    assert rows_of(found) == [tuple("nan" if v != v else v for v in r) for _, r in inside]


def test_a_writer_and_its_readers(store: Store) -> None:
    channel = store.writer().channel("p", "r")
    for step in range(100):
        assert channel.log({"loss": 1.0 / (step + 1), "acc": step / 100}, step)
    found = metrics(store, "r", "loss")
    assert found["step"].to_list() == list(range(100))
    assert found["value"].to_list() == [1.0 / (s + 1) for s in range(100)]
    assert metrics(store, "r").height == 200
    sizes = metrics(store, "r", points=10).group_by("key").len()["len"]
    assert 8 <= sizes.min() <= sizes.max() <= 10  # type: ignore[operator]


def test_schema_is_the_contract_even_when_empty(store: Store) -> None:
    expected = {
        "run_id": pl.String, "key": pl.String, "step": pl.Int64,
        "time": pl.Datetime("us", "UTC"), "value": pl.Float64,
    }  # fmt: skip
    options: dict[str, Any]
    for options in ({}, {"points": 10}, {"x": "time"}, {"keys": []}, {"keys": ["no*"]}):
        assert dict(metrics(store, "unknown", **options).schema) == expected
        assert dict(metrics(store, [], **options).schema) == expected
    absorb(store, line("r", "k", range(3)), 1)
    assert dict(metrics(store, "r").schema) == expected
    for options in ({"x": "relative"}, {"x": "metrics.k"}, {"x": "relative", "points": 5}):
        for run in ("r", "unknown"):
            assert dict(metrics(store, run, **options).schema) == {**expected, "x": pl.Float64}


def test_run_ids_in_many_forms(store: Store) -> None:
    absorb(store, line("r", "k", range(2)) + line("s", "k", range(3)), 1)
    view = SimpleNamespace(id="r")
    assert metrics(store, view).height == 2
    assert metrics(store, ["s", view]).height == 5
    assert metrics(store, pl.DataFrame({"run_id": ["s"]})).height == 3
    assert metrics(store, ["s", "unknown"]).height == 3


def test_keys_by_name_and_pattern(store: Store) -> None:
    for segment, key in enumerate(["val/acc", "val/loss", "loss", "odd[1]", "odd1"], 1):
        absorb(store, line("r", key, range(2)), segment)

    def keys(*wanted: str) -> list[str]:
        return metrics(store, "r", list(wanted))["key"].unique().sort().to_list()

    assert keys("val/*") == ["val/acc", "val/loss"]
    assert keys("*loss", "nothing") == ["loss", "val/loss"]
    assert keys("odd[1]") == ["odd[1]"]  # a name that is there is no pattern
    assert keys("odd[12]") == ["odd1"]
    assert metrics(store, "r", "loss").equals(metrics(store, "r", ["loss"]))
    assert keys() == []


def test_many_series_come_in_order(store: Store) -> None:
    rows = [r for run in "cab" for key in ("k10", "k2", "é") for r in line(run, key, range(30))]
    absorb(store, rows[100:], 1)
    absorb(store, rows[:100], 2)
    for ids in (["a", "b", "c"], [*"abcdefgh"]):  # few series, then more
        found = metrics(store, ids)
        assert found.height == 270
        assert found.equals(found.sort("run_id", "key", "step"))


def test_infinities_and_nan_survive(store: Store) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324]
    absorb(store, [("r", "k", i, T0, v) for i, v in enumerate(values)], 1)
    found = metrics(store, "r")["value"].to_list()
    assert [str(v) for v in found] == [str(v) for v in values]


# -- axes ---------------------------------------------------------------------------------------


def test_time_bounds(store: Store) -> None:
    absorb(store, line("r", "k", range(10), gap=1_000_000), 1)
    start = datetime.fromtimestamp(T0 // 1_000_000 + 2, UTC)
    by_time = metrics(store, "r", x="time", start=start, end=start + timedelta(seconds=3))
    assert by_time["step"].to_list() == [2, 3, 4, 5]
    naive = metrics(store, "r", x="time", start=start.replace(tzinfo=None))
    assert naive["step"].to_list() == list(range(2, 10))
    assert metrics(store, "r", x="time", end=T0 + 1_000_000)["step"].to_list() == [0, 1]


def test_fractional_steps_as_bounds(store: Store) -> None:
    absorb(store, line("r", "k", range(10)), 1)
    assert metrics(store, "r", start=2.5, end=5.5)["step"].to_list() == [3, 4, 5]
    assert metrics(store, "r", start=-math.inf, end=math.inf).height == 10
    assert metrics(store, "r", start=math.inf).is_empty()


def test_relative_time_counts_from_the_runs_first_point(store: Store) -> None:
    first = ("r", "other", 0, T0 - 2_000_000, 0.0)
    absorb(store, [first, *line("r", "k", range(10), gap=500_000)], 1)
    absorb(store, line("s", "k", range(3), gap=500_000), 2)
    found = metrics(store, ["r", "s"], "k", x="relative")
    assert found.filter(pl.col("run_id") == "r")["x"].to_list() == [2 + i / 2 for i in range(10)]
    assert found.filter(pl.col("run_id") == "s")["x"].to_list() == [0.0, 0.5, 1.0]
    cut = metrics(store, ["r", "s"], "k", x="relative", start=0.5, end=3.0)
    assert cut.filter(pl.col("run_id") == "r")["x"].to_list() == [2.0, 2.5, 3.0]
    assert cut.filter(pl.col("run_id") == "s")["x"].to_list() == [0.5, 1.0]


def test_another_metric_as_axis(store: Store) -> None:
    rows = [("r", "epoch", s, T0 + s, s / 10) for s in range(5)]
    rows += [("r", "epoch", 2, T0 + 99, 7.0), ("r", "epoch", 4, T0 + 99, math.nan)]
    rows += [("r", "loss", s, T0 + s, float(s)) for s in range(8)]
    absorb(store, rows, 1)
    found = metrics(store, "r", "loss", x="metrics.epoch")
    assert found["x"].to_list() == [0.0, 0.1, 0.3, 7.0]
    assert found["step"].to_list() == [0, 1, 3, 2]
    assert metrics(store, "r", "loss", x='metrics."epoch"', start=0.05, end=1)[
        "step"
    ].to_list() == [1, 3]
    assert metrics(store, ["r", "s"], "loss", x="metrics.epoch").equals(found)
    assert metrics(store, "r", "loss", x="metrics.nothing").is_empty()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "steps"}, "did you mean 'step'"),
        ({"x": "metrics."}, "x must be"),
        ({"method": "lttbs"}, "did you mean 'lttb'"),
        ({"points": 3}, "from 4 on"),
        ({"points": 10.0}, "whole number"),
        ({"points": True}, "whole number"),
        ({"start": "yesterday"}, "start must be a number"),
        ({"x": "time", "end": "yesterday"}, "datetime or microseconds"),
        ({"start": datetime.now(UTC)}, 'x="time"'),
        ({"end": math.nan}, "end must be"),
        ({"keys": [1]}, "names of metrics"),
    ],
)
def test_wrong_arguments(store: Store, options: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        metrics(store, "r", **options)


def test_wrong_runs(store: Store) -> None:
    with pytest.raises(QueryError, match="run ids must be"):
        metrics(store, 5)


# -- the store moves while we read --------------------------------------------------------------


def test_freed_files_are_looked_up_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for segment in range(1, 5):
        absorb(store, line("r", "k", range(segment * 10, segment * 10 + 10)), segment)
    real = module.Sight.rows
    freed: list[dict[str, int]] = []

    def late(self: module.Sight, where: Any) -> pa.Table:
        if not freed:
            freed.append(store.series.compact(METRICS, keep_hours=0))  # type: ignore[attr-defined]
        return real(self, where)

    monkeypatch.setattr(module.Sight, "rows", late)
    assert metrics(store, "r", "k")["step"].to_list() == list(range(10, 50))
    if type(store.series).__name__ == "DeltaSeries":
        assert freed[0]["files_freed"] == 4


def test_a_snapshot_that_always_expires_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: Any) -> Any:
        raise SnapshotExpired("gone")

    monkeypatch.setattr(module.Sight, "rows", expired)
    with pytest.raises(SnapshotExpired):
        metrics(store, "r", "k")


def test_system_metrics(store: Store) -> None:
    absorb(store, line("r", "cpu", range(1000)), 1, SYSTEM_METRICS)
    assert metrics(store, "r", table=SYSTEM_METRICS).height == 1000
    assert metrics(store, "r", ["c*"], table=SYSTEM_METRICS, points=50).height <= 50
    assert metrics(store, "r", x="relative", table=SYSTEM_METRICS)["x"].max() == 0.999
    assert metrics(store, "r").is_empty()


def test_system_metrics_are_asked_for_by_the_same_verb() -> None:
    run = mlrun.init(project="p", system_metrics=False)
    assert run.writer is not None
    channel = run.writer.channel(run.project, run.id, "system_metrics")
    for second in range(100):
        channel.log({"cpu/percent": float(second)}, second)
    found = mlrun.metrics(run.id, system=True, points=10)
    assert set(found["key"]) == {"cpu/percent"}
    assert 2 < found.height <= 10
    assert mlrun.metrics(run.id).is_empty()
    run.finish()


def test_rows_are_read_without_a_look_at_rollups_and_charts_look_there_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    absorb(store, line("r", "loss", range(500)), 1)
    looked: list[str] = []
    plain = store.series.snapshot

    def snapshot(table: Table) -> Any:
        looked.append(table.name)
        return plain(table)

    monkeypatch.setattr(store.series, "snapshot", snapshot)
    assert metrics(store, "r", keys=["loss"], start=490).height == 10
    assert looked == [METRICS.name]
    looked.clear()
    assert metrics(store, "r", keys=["loss"], points=50).height == 50
    assert looked == [ROLLUPS.name, METRICS.name]
    looked.clear()
    assert metrics(store, "r", keys=["lo*"], start=490).height == 10
    assert looked == [ROLLUPS.name, METRICS.name]
