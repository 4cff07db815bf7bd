from __future__ import annotations

import polars as pl

import mlrun
from mlrun.app.board.compare_diff import diff_table, differing
from mlrun.app.board.compare_lines import Wanted, drawn
from mlrun.app.board.compare_points import MOST_POINTS, Span, key_limit, points_each
from mlrun.app.board.compare_runs import Compared, colors_of, compared, names_of
from mlrun.app.board.plots import coordinates, parallel, scatter
from mlrun.store import open_store


def _runs(count: int) -> Compared:
    frame = pl.DataFrame({
        "run_id": [f"id-{n:04}" for n in range(count)], "name": ["same"] * count,
        "params.lr": [n % 3 for n in range(count)],
    })  # fmt: skip
    return Compared(frame, names_of(frame))


def _points(found: Compared) -> pl.DataFrame:
    rows = [(one, float(x), x * 1.0) for one in found.ids for x in range(3)]
    return pl.DataFrame(rows, schema=["run_id", "x", "y"], orient="row")


def test_runs_have_names_and_colours_of_their_own_that_stay() -> None:
    found = _runs(30)
    assert len(set(found.names)) == 30
    one = colors_of(found.ids[:5])
    assert len(set(one.values())) == 5
    assert colors_of([*found.ids[:5], "id-9999"]).items() >= one.items()
    assert colors_of(reversed(found.ids[:5])) == one


def test_few_runs_are_lines_and_smoothing_keeps_the_raw_one() -> None:
    found = _runs(3)
    made = drawn(_points(found), found, Wanted(smooth=0.5))
    assert made.look == {"raw": "raw"}
    assert set(made.frame["series"]) == set(made.names) == set(found.names)


def test_groups_are_means_with_a_band() -> None:
    found = _runs(6)
    made = drawn(_points(found), found, Wanted(by="params.lr"))
    assert made.names == ["0", "1", "2"]
    assert made.bands == [("low", "high")]
    assert made.frame["runs"].to_list() == [2] * 9


def test_a_crowd_is_quantiles_or_thin_lines_behind_the_marked_ones() -> None:
    found = _runs(40)
    marked = (found.ids[7], "gone")
    made = drawn(_points(found), found, Wanted(marked=marked))
    assert made.names == ["median of 40 runs", found.names[7]]
    assert made.frame.height == 6
    made = drawn(_points(found), found, Wanted(marked=marked, crowd="every run"))
    assert made.names == [found.names[7]]
    assert made.frame["faint"].sum() == 39 * 3


def test_the_browser_never_gets_more_points_than_it_can_draw() -> None:
    for runs in (1, 7, 60, 1000):
        keys = min(4, key_limit(runs))
        assert runs * keys * points_each(runs, keys) <= MOST_POINTS


def test_a_range_is_said_in_the_units_of_the_axis() -> None:
    span = Span(0.5, 2.5)
    assert span.bounds("step") == {"start": 0, "end": 3}
    assert span.bounds("relative") == {"start": 0.5, "end": 2.5}
    assert span.bounds("time")["end"].microsecond == 2500
    assert Span(1e300, -1e300).bounds("step")["end"] < 0
    assert Span(2, 1).ends is None
    assert Span().bounds("step") == {}


def test_runs_are_found_by_id_in_their_order_or_by_filter() -> None:
    ids = []
    for lr in (1, 2, 3):
        with mlrun.init(project="digits", config={"lr": lr}) as run:
            run.log({"loss": lr})
        ids.append(run.id)
    store = open_store()
    found = compared(store, [ids[2], "gone", ids[0]], "", "")
    assert found.ids == [ids[2], ids[0]]
    assert found.missing == ("gone",)
    assert found.keys == ["loss"]
    assert compared(store, [], "params.lr > 1", "digits").frame.height == 2
    assert compared(store, [], "", "elsewhere").ids == []


def test_the_table_has_what_differs_missing_values_too() -> None:
    frame = pl.DataFrame({"params.a": [1, 1], "params.b": [1, None], "results.c": ["x", "y"]})
    columns = differing(frame, frame.columns)
    assert columns == ["params.b", "results.c"]
    found = diff_table(frame, ["name", "second"], columns)
    assert found.columns == ["kind", "name", "name (run)", "second"]
    assert found.rows() == [("param", "b", "1", ""), ("result", "c", "x", "y")]
    many = diff_table(_runs(20).frame, _runs(20).names, ["params.lr"])
    assert many.shape == (20, 2)


def test_parallel_axes_run_from_the_least_to_the_greatest() -> None:
    frame = pl.DataFrame({
        "params.a.b[0]": [1, 3, None], "params.t": ["x", "y", "x"], "results.s": [5.0] * 3,
    })  # fmt: skip
    rows = coordinates(frame, ["a", "b", "c"], frame.columns)
    assert rows["place"].to_list() == [0, 1, None, 0, 1, 0, 0.5, 0.5, 0.5]
    assert rows["head"].unique(maintain_order=True).to_list() == [
        "params.a.b[0]\n1 to 3", "params.t\nx to y", "results.s\n5 to 5",
    ]  # fmt: skip
    drawn_rows, spec = parallel(frame, ["a", "b", "c"], frame.columns, "results.s")
    assert drawn_rows.height == 9
    assert "a.b[0]" not in str([layer["encoding"] for layer in spec["layer"]])


def test_scatter_takes_numbers_texts_lists_and_leaves_out_what_a_logarithm_lacks() -> None:
    frame = pl.DataFrame({"p": [0.0, 1, 2], "t": ["a", "b", None], "l": [[1], [2], [3]]})
    rows, spec = scatter(frame, ["a", "b", "c"], "p", "l", "t", logx=True)
    assert rows["name"].to_list() == ["b", "c"]
    assert spec["encoding"]["y"]["type"] == "nominal"
