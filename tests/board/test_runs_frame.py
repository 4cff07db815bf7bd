from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import polars as pl

import mlrun
from mlrun.app.board.runs_frame import CURVE, as_csv, curves, laid_over, open_runs, shown
from mlrun.store import open_store

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOSTILE = "</script><img src=x onerror=alert(1)>"


def page() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "run_id": ["a", "b", "c"],
            "name": ["one", HOSTILE, None],
            "state": ["running", "completed", "pending"],
            "started_at": pl.Series([NOW - timedelta(seconds=75.5), NOW, None], dtype=pl.Datetime("us", "UTC")),
            "duration": [None, timedelta(seconds=2, microseconds=345_678), None],
            "tags": [["x", "y, z"], [], None],
            "metrics.loss": [0.5, float("nan"), None],
        }
    )  # fmt: skip


def test_a_run_that_goes_on_has_lasted_until_now() -> None:
    found = shown(page(), ["name", "state", "started_at", "duration"], NOW, None)
    assert found["duration"].to_list() == [timedelta(seconds=75), timedelta(seconds=2.34), None]
    assert found["state"].to_list() == ["● running", "✓ completed", "◔ pending"]
    assert found["name"].to_list() == ["one", HOSTILE, None]


def test_curves_stand_behind_the_name() -> None:
    found = shown(page(), ["state", "name", "metrics.loss"], NOW, {"b": [1.0, 2.0]})
    assert found.columns == ["state", "name", CURVE, "metrics.loss"]
    assert found[CURVE].to_list() == [[], [1.0, 2.0], []]


def test_newer_rows_take_the_place_of_older_ones() -> None:
    fresh = pl.DataFrame(
        {"run_id": ["c", "a"], "state": ["running", "error"], "metrics.loss": [1, None]}
    )
    found = laid_over(page(), fresh)
    assert found["run_id"].to_list() == ["a", "b", "c"]
    assert found["state"].to_list() == ["error", "completed", "running"]
    assert found["metrics.loss"].to_list()[::2] == [None, 1.0]
    assert found.schema == page().schema
    assert open_runs(found) == ["c"]
    assert laid_over(page(), fresh.clear()).equals(page(), null_equal=True)


def test_a_table_as_csv_says_lists_and_durations_plainly() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(page()).decode())))
    assert rows[0]["tags"] == '["x", "y, z"]'
    assert rows[1]["name"] == HOSTILE
    assert rows[1]["duration"] == "2.345678"
    assert rows[1]["started_at"] == "2026-01-02T00:00:00.000000Z"
    assert rows[2]["duration"] == ""
    assert as_csv(page().clear()).decode().startswith("run_id,name")


def test_curves_are_of_one_name_and_hold_what_can_be_drawn() -> None:
    ids = []
    for values in ([3.0, float("nan"), 1.0], [float("inf"), 2.0]):
        with mlrun.init(project="p") as run:
            for value in values:
                run.log({"loss": value, "lo*": 9.0, "loss2": 7.0})
        ids.append(run.id)
    store = open_store()
    assert curves(store, ids, "loss") == {ids[0]: [3.0, 1.0], ids[1]: [2.0]}
    assert curves(store, ids[:1], "lo*") == {ids[0]: [9.0, 9.0, 9.0]}
    assert curves(store, ids[:1], "l*") == {ids[0]: []}
    assert curves(store, [], "loss") == {}
