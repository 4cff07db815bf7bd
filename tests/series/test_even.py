"""Values at even positions are chosen from in one pass, and keep what charts must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mlrun.series.downsampling import select


@given(
    st.integers(200, 5000),
    st.integers(16, 200),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, np.nan, np.inf, -np.inf]),
)
def test_ends_and_extremes_stay(rows: int, points: int, seed: int, odd: float | None) -> None:
    made = np.random.default_rng(seed)
    y = np.cumsum(made.normal(size=rows))
    if odd is not None:
        y[made.integers(rows, size=3)] = odd
    chosen = select(None, y, points, "minmaxlttb")
    assert chosen.size <= points
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] == 0
    assert chosen[-1] == rows - 1
    assert np.nanmin(y) in y[chosen]
    assert np.nanmax(y) in y[chosen]
    if odd is not None and rows > 8 * points:
        assert np.isnan(y[chosen]).any() == np.isnan(y).any()


@pytest.mark.parametrize("width", [1, 40, 20_000])
def test_a_series_with_level_stretches_keeps_its_ends_and_extremes(width: int) -> None:
    y = np.repeat(np.random.default_rng(0).normal(size=20_000 // width), width)
    chosen = select(None, y, 100, "minmaxlttb")
    assert 60 <= chosen.size <= 100
    assert (np.diff(chosen) > 0).all()
    assert (chosen[0], chosen[-1]) == (0, y.size - 1)
    assert (y[chosen].min(), y[chosen].max()) == (y.min(), y.max())


@pytest.mark.parametrize("at", [0, 1, 7_777, 19_998, 19_999])
@pytest.mark.parametrize("height", [-100.0, 100.0])
def test_a_lonely_extreme_stays_wherever_it_is(at: int, height: float) -> None:
    y = np.sin(np.arange(20_000) / 300)
    y[at] = height
    chosen = select(None, y, 100, "minmaxlttb")
    assert chosen.size <= 100
    assert at in chosen


@pytest.mark.parametrize("method", ["minmaxlttb", "lttb", "minmax", "m4"])
def test_without_positions_the_index_is_meant(method: str) -> None:
    y = np.sin(np.arange(20_000) / 300)
    chosen = select(None, y, 100, method)
    given = select(np.arange(20_000), y, 100, method)
    assert chosen.size >= 60
    assert (chosen[0], chosen[-1]) == (given[0], given[-1])
    assert y[chosen].max() == y.max()
    assert y[chosen].min() == y.min()
