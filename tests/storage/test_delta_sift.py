from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pytest

from mlrun.contracts import PointFilter
from mlrun.errors import CorruptStore
from mlrun.storage import delta_scan
from mlrun.storage.delta import DeltaSeries
from mlrun.tables import METRICS
from mlrun.testing.series_filters import SeriesFilters

if TYPE_CHECKING:
    from pathlib import Path

MICROS = METRICS.schema.field("time").type


@pytest.fixture(autouse=True)
def every_scan_sifts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_scan, "_SIFTED_ROWS", 0)


class TestSiftingDelta(SeriesFilters):
    @pytest.fixture
    def series(self, tmp_path: Path) -> DeltaSeries:
        return DeltaSeries(f"delta://{tmp_path}/series")


def rows_of(runs: int, points: int) -> pa.Table:
    ids = [f"run {n:03}" for n in range(runs) for _ in range(points)]
    steps = list(range(points)) * runs
    return pa.table(
        {
            "project": ["p"] * len(ids), "run_id": ids, "key": ["a", "b"] * (len(ids) // 2), "step": steps,
            "time": pa.array([s * 1000 for s in steps], MICROS), "value": [float(s) for s in steps],
            "writer": ["w"] * len(ids), "seq": list(range(len(ids))),
        }
    )  # fmt: skip


FILTERS = {
    "some runs": PointFilter(run_ids=("run 003", "run 017", "no run")),
    "one key": PointFilter(keys=("b",)),
    "a range of steps": PointFilter(keys=("a", "b"), steps=(10, 20)),
    "a range of times": PointFilter(keys=("a",), times=(10_000, 20_000)),
    "a name that no file can hold": PointFilter(run_ids=("run 003", "\ud800")),
    "none but such a name": PointFilter(run_ids=("\ud800",)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_sifted_rows_are_those_that_reading_row_groups_finds(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = DeltaSeries(f"delta://{tmp_path}/series")
    series.append(METRICS, rows_of(30, 100))
    view = series.snapshot(METRICS)
    columns = ["value", "run_id", "seq", "time"]
    sifted = view.scan(FILTERS[name], columns=columns).read_all()
    monkeypatch.setattr(delta_scan, "_SIFTED_ROWS", 1 << 62)
    read = view.scan(FILTERS[name], columns=columns).read_all()
    assert sifted.schema == read.schema
    assert pl.DataFrame(sifted).sort("seq").equals(pl.DataFrame(read).sort("seq"))


def test_of_a_damaged_file_it_is_said_what_it_held(tmp_path: Path) -> None:
    series = DeltaSeries(f"delta://{tmp_path}/series")
    series.append(METRICS, rows_of(30, 100))
    view = series.snapshot(METRICS)
    (file,) = tmp_path.glob("series/metrics/*.parquet")
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    file.write_bytes(content)
    with pytest.raises(CorruptStore, match="3,000 rows cannot be read"):
        view.scan(PointFilter(run_ids=("run 003",))).read_all()
