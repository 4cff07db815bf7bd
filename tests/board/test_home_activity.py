from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import mlrun
from mlrun.app.board.home_activity import (
    DAYS,
    activity,
    failed,
    first_line,
    progress,
    recent,
    running,
)
from mlrun.store import open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def started(*hours: float) -> pl.Series:
    return pl.Series([NOW - timedelta(hours=h) for h in hours], dtype=pl.Datetime("us", "UTC"))


def test_runs_are_counted_by_day_and_failures_of_the_last_day() -> None:
    runs = pl.DataFrame(
        {
            "project": ["a", "a", "a", "b", "a"],
            "state": ["error", "completed", "lost", "error", "running"],
            "started_at": started(1, 2, 30, 24 * 60, -1),  # a clock may be ahead
        }
    )
    projects = pl.DataFrame(
        {
            "name": ["a", "b", "c"],
            "runs": [4, 1, 0],
            "running": [1, 0, 0],
            "last_started_at": [NOW, NOW - timedelta(days=60), None],
        },
        schema_overrides={"last_started_at": pl.Datetime("us", "UTC")},
    )
    found = activity(projects, runs, NOW)
    assert found["project"].to_list() == ["a", "b", "c"]
    assert found["failed"].to_list() == [1, 0, 0]
    days = found["days"].to_list()
    assert [len(d) for d in days] == [DAYS] * 3
    assert days[0][-2:] == [1, 3]
    assert sum(days[2]) == 0
    assert activity(projects, runs.clear(), NOW)["days"].to_list() == [[0] * DAYS] * 3


def test_what_runs_shows_how_far_it_is() -> None:
    with mlrun.init(project="p", name="going") as run:
        for value in (3.0, 2.0):
            run.log({"zeta": 1.0, "loss": value})
        store = open_store()
        now = running(store)
        assert now["name"].to_list() == ["going"]
        (row,) = progress(store, now, datetime.now(UTC)).to_dicts()
        assert (row["metric"], row["value"], row["curve"]) == ("loss", 2.0, [3.0, 2.0])
        assert row["lasted"] >= timedelta(0)
        assert running(store, "q").is_empty()
    assert progress(store, running(store), datetime.now(UTC)).is_empty()


def test_a_run_without_metrics_runs_too() -> None:
    with mlrun.init(project="p", name="quiet"):
        store = open_store()
        (row,) = progress(store, running(store), datetime.now(UTC)).to_dicts()
        assert (row["name"], row["metric"], row["value"], row["curve"]) == ("quiet", None, None, [])


def test_what_failed_last_says_why_in_a_line() -> None:
    with pytest.raises(ValueError, match="no"), mlrun.init(project="p", name="bad"):
        raise ValueError("no memory\nat all")
    store = open_store()
    (row,) = failed(store).to_dicts()
    assert (row["name"], row["error"]) == ("bad", "ValueError: no memory")
    assert recent(store, "p")["state"].to_list() == ["error"]
    assert recent(store, "q").is_empty()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, ""),
        (" \n", ""),
        ("killed", "killed"),
        ("first\nsecond", "first"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'", "KeyError: 'a'"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        (
            "Traceback (most recent call last):\n  File x\nKeyError: 1\n\nDuring …:\n\n"
            "Traceback (most recent call last):\n  File y\nTypeError: 2",
            "TypeError: 2",
        ),
    ],
)
def test_an_error_has_one_line_that_says_what_happened(error: str | None, said: str) -> None:
    assert first_line(error) == said
