from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

import mlrun
from mlrun.app.board.preview_facts import bars, schema_table
from mlrun.app.board.run_children import child_table
from mlrun.app.board.run_function import spec_table
from mlrun.app.board.run_header import badge_text, parsed_labels
from mlrun.app.board.run_lines import as_text, bare, grown, held
from mlrun.app.board.run_live import fingerprint
from mlrun.app.board.run_media import by_step
from mlrun.app.board.run_series import Span, chart_frame, grouped, matching, span_of
from mlrun.app.board.run_tables import command_line, host_table, made_and_used, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def points(values: Sequence[float], key: str = "loss") -> pl.DataFrame:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    steps = range(len(values))
    return pl.DataFrame(
        {"run_id": "r", "key": key, "step": steps, "time": [start + timedelta(seconds=s) for s in steps],
         "value": values, "x": [float(s) for s in steps]}
    )  # fmt: skip


def test_keys_are_found_by_parts_and_patterns_and_grouped_by_prefix() -> None:
    keys = ["val/acc", "train/acc", "lr", "val/Loss"]
    assert matching(keys, "") == ["lr", "train/acc", "val/Loss", "val/acc"]
    assert matching(keys, "loss") == ["val/Loss"]
    assert matching(keys, "val/*, lr") == ["lr", "val/Loss", "val/acc"]
    assert grouped(matching(keys, "")) == {
        "": ["lr"], "train": ["train/acc"], "val": ["val/Loss", "val/acc"],
    }  # fmt: skip


def test_a_chart_has_the_axis_that_was_asked_for_and_leaves_out_what_a_logarithm_cannot_show() -> (
    None
):
    frame = points([1.0, 0.0, math.nan, 4.0])
    assert chart_frame(frame, "loss", "step")["x"].to_list() == [0, 1, 2, 3]
    assert chart_frame(frame, "loss", "time")["x"].dtype == pl.Datetime("us", "UTC")
    assert chart_frame(frame, "loss", "relative")["x"].dtype == pl.Float64
    assert chart_frame(frame, "loss", log=True)["y"].to_list()[0::2] == [1.0, 4.0]
    assert chart_frame(frame, "other").is_empty()


def test_smoothing_begins_at_the_first_value_and_keeps_gaps_and_the_raw_line() -> None:
    frame = chart_frame(points([4.0, math.nan, 2.0, math.inf, 2.0]), "loss", smooth=0.5)
    smooth = frame["y"].to_list()
    assert smooth[0] == 4.0
    assert smooth[1] is None
    assert 2.0 < smooth[4] < smooth[2] < 4.0
    assert smooth[3] is None
    assert frame["raw"].to_list()[3] == math.inf


def test_a_range_of_the_address_is_one_or_none() -> None:
    assert span_of(5.0, 2.0) == Span()
    assert span_of(None, 2.0) == Span(None, 2.0)
    assert Span().bound("time", 0.0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert Span().bound("time", 1e300) is None
    assert Span().bound("step", 3.5) == 3.5


def test_lines_lose_colours_and_are_found_as_they_stand() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    lines = pl.DataFrame(
        {"time": [now, now], "stream": ["stdout", "stderr"], "line": ["\x1b[1mLoss\x1b[0m: .5", "a.c [x"]}
    )  # fmt: skip
    assert bare("\x1b]0;title\x07ok\x00") == "ok"
    assert bare("10 %\r20 %\r") == "20 %"
    assert as_text(lines) == "Loss: .5\na.c [x"
    assert as_text(lines, times=True).startswith("12:00:00.000  Loss")
    assert held(lines, "loss").height == 1
    assert held(lines, "[x").height == 1
    assert held(lines, "a?c").height == 0
    assert held(lines, "", "stderr").height == 1


def test_lines_grow_by_those_that_came_since_the_last_instant() -> None:
    at = [datetime(2026, 1, 1, 12, 0, s, tzinfo=UTC) for s in (0, 1, 2)]
    every = pl.DataFrame({"time": [at[0], at[1], at[1], at[2]], "line": ["a", "b", "c", "d"]})
    known = every.head(2)
    assert grown(known, lambda since: every.filter(pl.col("time") >= since)).equals(every)
    assert grown(known.clear(), lambda since: every).equals(every)


def test_labels_are_edited_as_lines() -> None:
    assert parsed_labels("a=1\n\n b = x=y ", {"a": 1, "c": 2}) == {"b": "x=y", "c": None}
    with pytest.raises(ValueError, match="name=value"):
        parsed_labels("no equals", {})


def test_a_badge_gets_no_brackets_escaped_twice() -> None:
    assert badge_text(":red[x]") == "\\:red[x]"


def test_values_are_told_as_text() -> None:
    assert text_of({"a": [1, None]}) == '{"a": [1, null]}'
    assert text_of("x" * 3000).endswith("…")
    assert command_line({"command": ["python", "a b.py"]}) == "python 'a b.py'"
    assert command_line({}) == ""


def test_a_fingerprint_changes_with_every_point_and_result() -> None:
    run = mlrun.init(project="p")
    run.log({"loss": 1.0}, step=5)
    view = mlrun.get_run(run.id)
    seen = [fingerprint(view)]
    changes: list[Callable[[], object]] = [
        lambda: run.log({"loss": 1.0}, step=5),  # the same step once more
        lambda: run.log_result("a", 1),
        run.finish,
    ]
    for change in changes:
        change()
        seen.append(fingerprint(view.refresh()))
    assert len(set(seen)) == 4
    assert fingerprint(view.refresh()) == seen[-1]


def test_media_by_step_leaves_out_what_was_logged_once_at_the_start() -> None:
    with mlrun.init(project="p") as run:
        run.log_artifact("file.txt", body="x")
        run.log({"once": mlrun.Histogram([1.0])}, step=0)
        for step in (0, 5, 5):
            run.log({"often": mlrun.Histogram([1.0, step])}, step=step)
    view = mlrun.get_run(run.id)
    found = by_step(view.lineage())
    assert found.select("key", "step").rows() == [("often", 0), ("often", 5)]
    made = made_and_used(view.lineage())
    assert made.filter(pl.col("key") == "often")["role"].to_list() == ["made"]
    assert "Python" in host_table(view)["name"].to_list()


def test_children_leave_out_columns_in_which_nobody_has_anything() -> None:
    frame = pl.DataFrame(
        {"run_id": ["a", "b"], "name": ["x", "y"], "state": ["completed", "odd"], "iteration": [1, 2],
         "duration": [timedelta(seconds=1.5), None], "error": [None, None], "params.lr": [0.1, 0.2],
         "params.none": [None, None]}
    )  # fmt: skip
    shown = child_table(frame, 2)
    assert shown.columns == ["best", "name", "state", "iteration", "duration", "params.lr"]
    assert shown["best"].to_list() == ["", "★ best"]
    assert shown["state"].to_list() == ["✓ completed", "odd"]
    assert shown["duration"].to_list() == [1.5, None]
    assert "best" not in child_table(frame, None).columns


def test_facts_of_artifacts_and_functions_survive_odd_metadata() -> None:
    assert bars({"counts": [1, 2], "edges": [0, 1, 2]}).rows() == [(0.0, 1.0, 1.0), (1.0, 2.0, 2.0)]
    odds: list[object] = [
        {},
        [],
        {"counts": [1], "edges": [0, 1, 2]},
        {"counts": ["x"], "edges": [0, 1]},
    ]
    for odd in odds:
        with pytest.raises(ValueError, match="no histogram"):
            bars(odd)
    assert schema_table({"schema": "odd", "stats": 3}).is_empty()
    meta = {
        "schema": [{"name": "a", "type": "Int64"}, 5],
        "stats": {"a": {"mean": 0.5, "nulls": 0}},
    }
    assert schema_table(meta).row(0) == ("a", "Int64", "0", "0.5", None, None, None, None)
    assert spec_table({"requirements": ["polars"], "code": {"text": "x"}}).rows() == [
        ("requirements", '["polars"]')
    ]
