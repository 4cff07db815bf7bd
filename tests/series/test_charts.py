from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from mlrun.registry import storage_class
from mlrun.series import points as module
from mlrun.series.points import metrics
from mlrun.series.rollups import build
from mlrun.store import Store, open_store
from mlrun.tables import METRICS, ROLLUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

T0 = 1_700_000_000_000_000
METHODS = ("minmaxlttb", "lttb", "minmax", "m4")


def part(
    step: Any, value: Any, time: Any = None, *, segment: int = 1, run: str = "r", key: str = "k"
) -> pa.Table:
    step = np.asarray(step, np.int64)
    time = T0 + step * 1000 if time is None else np.asarray(time, np.int64)
    n = step.size
    columns = [
        ["p"] * n, [run] * n, [key] * n, step, pa.array(time, pa.timestamp("us", "UTC")),
        np.asarray(value, np.float64), ["w"] * n, np.arange(n) + (segment << 32),
    ]  # fmt: skip
    return pa.table(columns, schema=METRICS.schema)


class Reads:
    """A series store that notes what is asked of it."""

    def __init__(self, series: Any) -> None:
        self._series = series
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._series, name)

    def snapshot(self, table: Any) -> Any:
        view = self._series.snapshot(table)

        def scan(where: Any, *, columns: Any = None) -> Any:
            found = view.scan(where, columns=columns).read_all()
            if table is METRICS:
                self.rows += found.num_rows
            return pa.RecordBatchReader.from_batches(found.schema, found.to_batches())

        return SimpleNamespace(marks=view.marks, scan=scan, waiting=getattr(view, "waiting", None))


class Journal:
    findings: tuple[Any, ...] = ()
    writers = ("w",)

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def points(self, table: str, *, after: Any, run_ids: Any = None, keys: Any = None) -> pa.Table:
        if table != "metrics" or (run_ids is not None and "r" not in run_ids):
            return self._rows.slice(0, 0)
        return self._rows if keys is None or "k" in keys else self._rows.slice(0, 0)


@pytest.fixture
def store(tmp_path: Path, series_url: str) -> Iterator[Any]:
    (tmp_path / "journal").mkdir()
    series = storage_class(series_url)(series_url)
    yield SimpleNamespace(journal=tmp_path / "journal", series=Reads(series))
    series.close()


def absorb(store: Any, rows: pa.Table, segment: int) -> None:
    assert store.series.append(METRICS, rows, marks={"w": segment})
    assert store.series.append(ROLLUPS, build(rows), marks={"w": segment})


def holds_the_law(chart: pl.DataFrame, rows: pl.DataFrame, points: int, x: str = "step") -> None:
    """The chart is a part of the rows, at most so many, with the ends, the extremes and a sign of NaN."""
    assert chart.height <= points
    if not rows.height:
        assert not chart.height
        return
    if rows.height <= points:
        assert chart.equals(rows, null_equal=True)
        return
    known = {s: (t, str(v)) for s, t, v in rows.select("step", "time", "value").iter_rows()}
    for step, time, value in chart.select("step", "time", "value").iter_rows():
        assert known[step] == (time, str(value))
    assert chart[x].is_sorted()
    assert chart["step"].n_unique() == chart.height
    real = rows["value"].drop_nans()
    assert chart["step"][0] == rows["step"][0]
    assert chart["step"][-1] == rows["step"][-1]
    assert chart["value"].drop_nans().min() == real.min()
    assert chart["value"].drop_nans().max() == real.max()
    if points >= 8 and rows["value"].is_nan().any():
        assert chart["value"].is_nan().any()


values = st.sampled_from(["wave", "noise", "nan", "gaps", "infinite", "flat"])


def value_of(kind: str, n: int) -> Any:
    rng = np.random.default_rng(n)
    if kind == "flat":
        return np.full(n, 2.0)
    out = np.sin(np.arange(n) / 40) if kind == "wave" else rng.standard_normal(n)
    if kind == "nan":
        out[:] = np.nan
    if kind == "gaps":
        out[n // 3 : n // 3 + 3] = np.nan
    if kind == "infinite":
        out[n // 2 : n // 2 + 1] = np.inf
        out[n // 4 : n // 4 + 1] = -np.inf
    return out


pieces = st.builds(
    lambda start, n, gap, kind, shuffled: (start, n, gap, kind, shuffled),
    st.integers(-100, 3000),
    st.sampled_from([1, 5, 64, 65, 300, 900, 5000]),
    st.sampled_from([1, 1, 1, 3]),
    values,
    st.booleans(),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    absorbed=st.lists(pieces, min_size=1, max_size=4),
    fresh=st.none() | pieces,
    points=st.integers(4, 40),
    method=st.sampled_from(METHODS),
    x=st.sampled_from(["step", "time", "relative"]),
    bounds=st.tuples(st.none() | st.integers(-200, 6000), st.none() | st.integers(-200, 20_000)),
)
def test_charts_keep_what_they_promise(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    absorbed: list[Any], fresh: Any, points: int, method: str, x: str, bounds: Any,
) -> None:  # fmt: skip
    url = f"delta://{tmp_path_factory.mktemp('s')}"
    store: Any = SimpleNamespace(journal=Path("unused"), series=storage_class(url)(url))
    clock = T0
    made = []
    for segment, (start, n, gap, kind, shuffled) in enumerate(
        [*absorbed, fresh or (0, 0, 1, "flat", False)], 1
    ):
        step = start + np.arange(n) * gap
        if shuffled:
            np.random.default_rng(n).shuffle(step)
        time = clock + np.arange(n) * 1000
        clock += n * 1000
        made.append(part(step, value_of(kind, n), time, segment=segment))
    for segment, rows in enumerate(made[:-1], 1):
        absorb(store, rows, segment)
    monkeypatch.setattr(module, "read_journal", lambda _: Journal(made[-1]))
    low, high = bounds
    if x == "time":
        low, high = (None if b is None else T0 + b * 1000 for b in bounds)
    if x == "relative":
        low, high = (None if b is None else b / 1000 for b in bounds)
    rows = metrics(store, "r", "k", x=x, start=low, end=high, last=True)
    chart = metrics(store, "r", "k", x=x, start=low, end=high, points=points, method=method)
    holds_the_law(chart, rows, points, x if x != "relative" else "x")


# -- what is read -------------------------------------------------------------------------------


def test_a_long_chart_reads_no_rows(store: Any) -> None:
    n = 200_000
    value = np.sin(np.arange(n) / 1000)
    value[77_777] = np.nan
    for segment in (1, 2):
        absorb(store, part(np.arange(n) + (segment - 1) * n, value, segment=segment), segment)
    for method in METHODS:
        chart = metrics(store, "r", points=100, method=method)
        assert 50 <= chart.height <= 100
        assert chart["value"].is_nan().sum() >= 1
    assert store.series.rows == 0


def test_a_part_of_a_chart_reads_rows_at_its_ends_only(store: Any) -> None:
    n = 400_000
    absorb(store, part(np.arange(n), np.arange(n) % 997), 1)
    rows = metrics(store, "r", start=100_001, end=300_002)
    store.series.rows = 0
    chart = metrics(store, "r", points=100, start=100_001, end=300_002)
    holds_the_law(chart, rows, 100)
    assert store.series.rows <= 2 * 64


def test_a_repeated_step_reads_the_rows_of_its_block(store: Any) -> None:
    n = 100_000
    value = np.zeros(n)
    value[50_000] = 9.0  # overwritten below: a chart must not show it
    absorb(store, part(np.arange(n), value), 1)
    absorb(store, part([50_000], [1.0], [T0 + n * 1000], segment=2), 2)
    chart = metrics(store, "r", points=50)
    assert chart["value"].max() == 1.0
    assert chart.filter(pl.col("value") == 1.0)["step"].to_list() == [50_000]
    assert store.series.rows <= 64 + 1


def test_points_in_the_journal_overwrite_blocks(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 100_000
    value = np.zeros(n)
    value[10] = 9.0
    absorb(store, part(np.arange(n), value), 1)
    fresh = part(
        [10, n, n + 1], [1.0, 2.0, math.nan], [T0 + n * 1000 + i for i in range(3)], segment=2
    )
    monkeypatch.setattr(module, "read_journal", lambda _: Journal(fresh))
    chart = metrics(store, "r", points=50)
    assert chart["value"].drop_nans().max() == 2.0
    assert chart["step"][-1] == n + 1
    assert math.isnan(chart["value"][-1])


def test_a_run_done_twice_shows_its_second_pass(store: Any) -> None:
    n = 60_000
    absorb(store, part(np.arange(n), np.full(n, 5.0)), 1)
    later = T0 + n * 1000 + np.arange(n) * 1000
    absorb(store, part(np.arange(n), np.full(n, 1.0), later, segment=2), 2)
    chart = metrics(store, "r", points=100)
    assert chart["value"].unique().to_list() == [1.0]
    assert chart["step"].to_list()[:: chart.height - 1] == [0, n - 1]


def test_long_and_short_series_together(store: Any) -> None:
    n = 50_000
    absorb(store, part(np.arange(n), np.arange(n)), 1)
    absorb(store, part(np.arange(30), np.arange(30), key="short", segment=2), 2)
    absorb(store, part(np.arange(n), np.arange(n), run="s", segment=3), 3)
    absorb(store, part(np.arange(40), np.arange(40), run="t", segment=4), 4)
    chart = metrics(store, ["r", "s", "t"], points=60)
    sizes = dict(
        chart.group_by("run_id", "key")
        .len()
        .select(pl.concat_str("run_id", "key"), "len")
        .iter_rows()
    )
    assert sizes["rshort"] == 30
    assert sizes["tk"] == 40
    assert 30 <= sizes["rk"] <= 60
    assert 30 <= sizes["sk"] <= 60
    assert chart.equals(chart.sort("run_id", "key", "step"))
    assert store.series.rows == 70


def test_many_series_are_read_together_as_each_is_alone(store: Any) -> None:
    chance = np.random.default_rng(0)
    for n in range(7):
        size = 40_000 + n * 9_000  # of several levels
        rows = part(np.arange(size), chance.normal(size=size), run=f"r{n}", segment=n + 1)
        absorb(store, rows, n + 1)
    again = part(np.arange(100, 200), np.zeros(100), run="r3", segment=9)
    absorb(store, again, 9)
    runs = [f"r{n}" for n in range(7)]
    for asked in (
        {}, {"x": "time"}, {"x": "relative"}, {"start": 777, "end": 30_001},
        {"x": "relative", "start": 0.5, "end": 20.0},
    ):  # fmt: skip
        words: dict[str, Any] = asked
        together = metrics(store, runs, keys=["k"], points=60, **words)
        alone = [metrics(store, [run], keys=["k"], points=60, **words) for run in runs]
        assert together.height > 7 * 30
        assert together.equals(pl.concat(alone)), asked


def test_charts_of_a_crowd_may_reach_beyond_a_range_and_miss_nothing_inside(store: Any) -> None:
    chance, size = np.random.default_rng(0), 40_000
    runs = [f"r{n}" for n in range(6)]
    for n, run in enumerate(runs, 1):
        absorb(store, part(np.arange(size), chance.normal(size=size), run=run, segment=n), n)
    for x, low, high in (("step", 7_777, 30_001), ("time", T0 + 7_777_001, T0 + 30_000_999),
                         ("relative", 7.777, 30.001)):  # fmt: skip
        every = metrics(store, runs, ["k"], x=x, start=low, end=high)
        store.series.rows = 0
        loose = metrics(store, runs, ["k"], points=60, x=x, start=low, end=high, exact=False)
        assert store.series.rows == 0
        for run in runs:
            chart, rows = (f.filter(pl.col("run_id") == run) for f in (loose, every))
            assert chart.height <= 60
            steps, shown = chart["step"].to_numpy(), chart["value"].to_numpy()
            assert 7_777 - 512 <= steps.min() <= 7_777
            assert 30_001 <= steps.max() <= 30_001 + 512
            assert shown.min() <= rows["value"].to_numpy().min()
            assert shown.max() >= rows["value"].to_numpy().max()


def test_a_bound_in_seconds_takes_the_row_that_lies_on_it(store: Any) -> None:
    absorb(store, part(np.arange(300), np.arange(300)), 1)
    seconds = np.arange(300) / 1000
    for place in range(1, 300, 12):
        found = metrics(store, "r", "k", x="relative", start=float(seconds[place]))
        assert found["step"][0] == place


def test_a_metric_as_axis_is_thinned_too(store: Any) -> None:
    n = 5_000
    absorb(store, part(np.arange(n), np.arange(n) / 100, key="epoch"), 1)
    absorb(store, part(np.arange(n), np.sin(np.arange(n) / 99), segment=2), 2)
    chart = metrics(store, "r", "k", x="metrics.epoch", points=100, start=10, end=20)
    assert 50 <= chart.height <= 100
    assert (chart["x"].min(), chart["x"].max()) == (10.0, 20.0)


def test_rows_past_the_rollups_are_in_the_chart_once(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absorber was killed between the two commits: the segment is in METRICS, in no rollup, and in the journal."""
    n = 50_000
    absorb(store, part(np.arange(n), np.zeros(n)), 1)
    late = part(np.arange(n, n + 500), np.ones(500), segment=2)
    assert store.series.append(METRICS, late, marks={"w": 2})
    journal = Journal(late)

    def points(table: str, *, after: Any, run_ids: Any = None, keys: Any = None) -> pa.Table:
        rows = Journal(late).points(table, after=after, run_ids=run_ids, keys=keys)
        return rows if after.get("w", 0) < 2 else rows.slice(0, 0)

    monkeypatch.setattr(journal, "points", points)
    monkeypatch.setattr(module, "read_journal", lambda _: journal)
    chart = metrics(store, "r", points=100)
    assert chart["step"][-1] == n + 499
    assert chart["value"].max() == 1.0
    assert metrics(store, "r").height == n + 500


def test_live_run_from_another_reader(tmp_path: Path) -> None:
    store: Store = open_store(tmp_path / "live")
    channel = store.writer().channel("p", "r")
    for step in range(3000):
        assert channel.log({"k": math.sin(step / 50)}, step)
    chart = metrics(store, "r", points=100)
    assert 50 <= chart.height <= 100
    assert chart["step"].to_list()[:: chart.height - 1] == [0, 2999]
