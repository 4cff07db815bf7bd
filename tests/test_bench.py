"""The benchmark's runners run, read back what they wrote, and say what they found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bench.__main__ import WORKLOADS, main
from bench.children import ChildFailed, call
from bench.figures import Figure, percentile, table

if TYPE_CHECKING:
    from pathlib import Path


def test_two_runners_write_json_and_draw_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "stores", tmp_path / "out.json"
    folder.mkdir()
    names = ["startup", "visible"]
    assert main([*names, "--quick", "--json", str(out), "--folder", str(folder)]) == 0
    said = json.loads(out.read_text(encoding="utf-8"))
    assert [r["workload"] for r in said["results"]] == names
    found = {f["name"]: f["value"] for r in said["results"] for f in r["figures"]}
    assert found["values not seen"] == 0
    assert all(value >= 0 for value in found.values())
    assert said["machine"]["cpus"] > 0
    drawn = capsys.readouterr().out
    assert all(name in drawn for name in found)
    assert list(folder.iterdir()) == []  # stores are deleted


def test_an_unknown_workload_is_named_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["log-cost"])
    said = capsys.readouterr().err
    assert all(name in said for name in ["log-cost", *WORKLOADS])


@pytest.mark.parametrize("tracker", ["mlrun", "JSON lines", "SQLite"])
def test_every_logged_point_is_read_back(tracker: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"tracker": tracker, "folder": str(tmp_path)}
    logged = call("bench.trackers.loops:calls", number=200, **given)
    assert logged["points"] == 3 * 250
    assert call("bench.trackers.loops:count", **given) == {"points": 750}


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(ChildFailed, match="KeyError"):
        call("bench.trackers.loops:count", tracker="no such tracker", folder="/nowhere")


def test_ratios_tell_how_many_times_better_we_are_than_the_best_that_carried_as_much() -> None:
    figures = [
        Figure("delay", 2.0, "ms", goal="<= 10"),
        Figure("delay", 30.0, "ms", "slow"),
        Figure("delay", 8.0, "ms", "quick"),
        Figure("delay", 1.0, "ms", "empty", less=True),
        Figure("rate", 900.0, "points/s"),
        Figure("rate", 90.0, "points/s", "slow"),
    ]
    lines = [[c.strip() for c in line.split("|")] for line in table("w", figures).splitlines()]
    rows = {cells[1]: cells[2:-1] for cells in lines if len(cells) > 2}
    assert rows["delay, ms"] == ["2", "<= 10", "30", "8", "1*", "4"]
    assert rows["rate, points/s"] == ["900", "", "90", "", "", "10"]


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 95) == 95
    assert percentile([3.0], 99) == 3.0


def test_runs_loaded_in_bulk_have_their_records_and_a_share_of_them_points(tmp_path: Path) -> None:
    import mlrun
    from bench.trackers import made

    call("bench.bulk:load_runs", folder=str(tmp_path), runs=30, share=10)
    found = mlrun.runs("w1", order_by="started_at", store=tmp_path)
    given = [made.run(number) for number in range(30)]
    assert found["name"].to_list() == [run.name for run in given]
    assert found["tags"].to_list() == [sorted(run.tags) for run in given]
    for key in given[0].params:
        assert found[f"params.{key}"].to_list() == [run.params[key] for run in given]
    for key in given[0].last:
        assert found[f"metrics.{key}"].to_list() == [run.last[key] for run in given]
    counts = mlrun.sql("select count(*) as n from metrics", store=tmp_path)
    assert counts.item() == 3 * 10 * made.POINTS


def test_a_store_that_was_loaded_is_asked_again(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["w1", "--quick", "--runs", "40", "--stores", str(tmp_path), "--load"]
    assert main([*arguments, "--json", str(out)]) == 0
    told = (tmp_path / "w1-40" / "built.json").read_text(encoding="utf-8")
    assert main([*arguments, "--json", str(out)]) == 0
    assert (tmp_path / "w1-40" / "built.json").read_text(encoding="utf-8") == told
    assert call("bench.w1:ask", folder=str(tmp_path / "w1-40"), runs=40, repeats=1)["taken"]
