"""What `scan` and `lazy` of every series store promise; part of `SeriesConformance`."""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from mlrun.contracts import PointFilter
from mlrun.errors import QueryError
from mlrun.tables import LOGS, METRICS, ROLLUPS, SYSTEM_METRICS, Table
from mlrun.testing.series_sample import T0, matching, rows_of, sample

__all__ = ["TABLES", "SeriesFilters"]

TABLES = [METRICS, SYSTEM_METRICS, LOGS, ROLLUPS]


class SeriesFilters:
    """Questions to a snapshot, compared with their definition."""

    @pytest.mark.parametrize(
        "where",
        [
            PointFilter(),
            PointFilter(run_ids=("run-1",)),
            PointFilter(run_ids=("run-3", "run-0", "unknown")),
            PointFilter(run_ids=()),
            PointFilter(run_ids=("run-1",), times=(T0 + 100, T0 + 500)),
            PointFilter(times=(None, T0 + 300)),
            PointFilter(times=(T0 + 999, None)),
            PointFilter(times=(T0 + 400, T0 + 300)),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
    def test_filters(self, series: Any, table: Table, where: PointFilter) -> None:
        self._compare(series, table, where)

    @pytest.mark.parametrize(
        "where",
        [
            PointFilter(keys=("a",)),
            PointFilter(keys=("é", "", "x" * 1024), run_ids=("run-1", "run-2")),
            PointFilter(steps=(10, 20)),
            PointFilter(steps=(None, 500), times=(T0 + 500, None), keys=("a", "val/acc")),
            PointFilter(steps=(500, 500)),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("table", [METRICS, ROLLUPS], ids=lambda t: t.name)
    def test_filters_of_series(self, series: Any, table: Table, where: PointFilter) -> None:
        self._compare(series, table, where)

    @pytest.mark.parametrize("levels", [(0,), (-1, 2), ()])
    def test_filter_by_level(self, series: Any, levels: tuple[int, ...]) -> None:
        self._compare(series, ROLLUPS, PointFilter(levels=levels, run_ids=("run-2",)))

    def _compare(self, series: Any, table: Table, where: PointFilter) -> None:
        parts = [sample(table, 400, seed=seed) for seed in (1, 2)]
        for part in parts:
            series.append(table, part)
        expected = matching(pa.concat_tables(parts), where)
        view = series.snapshot(table)
        assert rows_of(view.scan(where)) == rows_of(expected)
        names = ["run_id", table.sort[-1], "project"]
        assert view.scan(where, columns=names).schema.names == names
        assert rows_of(view.scan(where, columns=names)) == rows_of(expected.select(names))

    def test_text_that_cannot_be_stored_matches_nothing(self, series: Any) -> None:
        series.append(METRICS, sample(METRICS, 10))
        found = series.snapshot(METRICS).scan(PointFilter(run_ids=("\udcff",)))
        assert found.read_all().num_rows == 0

    def test_filter_by_a_column_that_is_not_there(self, series: Any) -> None:
        series.append(LOGS, sample(LOGS, 3))
        for where in (
            PointFilter(keys=("a",)),
            PointFilter(levels=(1,)),
            PointFilter(steps=(1, None)),
        ):
            with pytest.raises(QueryError):
                series.snapshot(LOGS).scan(where).read_all()

    def test_lazy_frames_filter_and_join(self, series: Any) -> None:
        data = sample(METRICS, 2000)
        series.append(METRICS, data)
        lazy = series.snapshot(METRICS).lazy()
        assert lazy.collect_schema().names() == list(METRICS.names)
        by_run = lazy.filter(pl.col("run_id") == "run-1").select(pl.len()).collect().item()
        assert by_run == matching(data, PointFilter(run_ids=("run-1",))).num_rows
