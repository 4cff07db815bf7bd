from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from mlrun.app.board.compare_groups import (
    align,
    banded,
    grid_of,
    labelled,
    quantile_bands,
    smoothed,
)

finite = st.floats(-1e12, 1e12, allow_subnormal=False)
curve = st.lists(
    st.tuples(st.integers(0, 50), finite), min_size=1, max_size=20, unique_by=lambda p: p[0]
)
curves = st.lists(curve, min_size=1, max_size=5)


def framed(many: list[list[tuple[int, float]]]) -> pl.DataFrame:
    rows = [(str(n), float(x), y) for n, one in enumerate(many) for x, y in sorted(one)]
    return pl.DataFrame(rows, schema=["series", "x", "y"], orient="row")


@given(curves)
@settings(max_examples=60)
def test_the_mean_lies_in_its_band_and_between_the_runs(
    many: list[list[tuple[int, float]]],
) -> None:
    frame = framed(many)
    grid = grid_of(frame["x"].to_numpy())
    names, values = align(frame, grid)
    found = banded(frame, dict.fromkeys(names, "all"), grid)
    slack = 1e-9 * max(1.0, np.nanmax(np.abs(values)))
    assert (found["low"] <= found["y"]).all()
    assert (found["y"] <= found["high"]).all()
    there = np.isfinite(values).any(axis=0)
    assert found["x"].to_list() == grid[there].tolist()
    assert (found["y"].to_numpy() >= np.nanmin(values[:, there], axis=0) - slack).all()
    assert (found["y"].to_numpy() <= np.nanmax(values[:, there], axis=0) + slack).all()
    assert (found["runs"] <= len(names)).all()


@given(curve, st.integers(1, 4))
@settings(max_examples=40)
def test_equal_runs_are_their_own_mean_without_a_band(
    one: list[tuple[int, float]], times: int
) -> None:
    frame = framed([one] * times)
    grid = grid_of(frame["x"].to_numpy())
    found = banded(frame, {str(n): "g" for n in range(times)}, grid)
    own = [y for _, y in sorted(one)]
    assert found["y"].to_list() == pytest.approx(own, rel=1e-9, abs=1e-9)
    assert (found["high"] - found["low"]).to_list() == pytest.approx(
        [0] * len(own), abs=1e-6 * max(1, max(map(abs, own)))
    )


@given(curves, st.randoms())
@settings(max_examples=30)
def test_the_order_of_rows_changes_nothing(
    many: list[list[tuple[int, float]]], chance: object
) -> None:
    frame = framed(many)
    grid = grid_of(frame["x"].to_numpy(), 7)
    names, values = align(frame, grid)
    mixed = frame.sample(fraction=1, shuffle=True, seed=1)
    others, again = align(mixed, grid)
    np.testing.assert_array_equal(values, again[[others.index(n) for n in names]])


@given(curves)
@settings(max_examples=30)
def test_quantiles_are_in_order(many: list[list[tuple[int, float]]]) -> None:
    frame = framed(many)
    found = quantile_bands(frame, grid_of(frame["x"].to_numpy(), 9), "all")
    values = found.select("q5", "q25", "y", "q75", "q95").to_numpy()
    slack = 1e-9 * max(1.0, np.abs(values).max()) if values.size else 0
    assert (np.diff(values, axis=1) >= -slack).all()


@given(st.lists(finite, min_size=1, max_size=30), st.floats(0, 0.99))
@settings(max_examples=60)
def test_smoothing_is_the_debiased_mean_of_the_past(values: list[float], weight: float) -> None:
    frame = pl.DataFrame({"series": "a", "x": np.arange(len(values), dtype=float), "y": values})
    found = smoothed(frame, weight)
    past, norm = 0.0, 0.0
    for raw, y, was in zip(values, found["y"], found["raw"], strict=True):
        past, norm = past * weight + (1 - weight) * raw, norm * weight + (1 - weight)
        assert y == pytest.approx(past / norm, rel=1e-6, abs=1e-6 * max(map(abs, values)) + 1e-12)
        assert was == raw


def test_smoothing_keeps_gaps_and_each_run_to_itself() -> None:
    frame = pl.DataFrame({
        "series": ["a", "a", "a", "b"], "x": [0.0, 1, 2, 0], "y": [1.0, float("nan"), 1.0, 9.0],
    })  # fmt: skip
    found = smoothed(frame, 0.9)["y"].to_list()
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])
    assert found[2:] == pytest.approx([1, 9])


def test_curves_are_interpolated_within_their_ends_and_not_over_gaps() -> None:
    frame = pl.DataFrame({
        "series": ["a"] * 4 + ["b"] * 2,
        "x": [0.0, 2, 4, 6, 2, 4],
        "y": [0.0, 2, float("nan"), 6, 10, 20],
    })  # fmt: skip
    names, values = align(frame, np.array([0.0, 1, 3, 5, 6]))
    assert names == ["a", "b"]
    np.testing.assert_array_equal(
        values, [[0, 1, np.nan, np.nan, 6], [np.nan, np.nan, 15, np.nan, np.nan]]
    )


def test_runs_are_grouped_by_value_by_range_and_the_rest() -> None:
    assert labelled({"a": 0.1, "b": 0.1, "c": None}) == {"a": "0.1", "b": "0.1", "c": "none"}
    ranged = labelled({str(n): n / 7 for n in range(60)})
    assert len(set(ranged.values())) == 6
    texts = labelled({str(n): f"t{min(n, 20)}" for n in range(40)})
    assert len(set(texts.values())) == 10
    assert texts["39"] == "t20"
    assert "others" in texts.values()
    assert set(labelled({"a": True, "b": "x", "c": 3}).values()) == {"True", "x", "3"}


def test_nothing_to_compare_gives_empty_frames() -> None:
    none = pl.DataFrame(schema={"series": pl.String, "x": pl.Float64, "y": pl.Float64})
    grid = grid_of(np.array([]))
    assert banded(none, {}, grid).is_empty()
    assert quantile_bands(none, grid, "all").is_empty()
    assert smoothed(none, 0.5).columns == ["series", "x", "y", "raw"]
