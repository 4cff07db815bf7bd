from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mlrun.series.downsampling import select, thin

METHODS = ("minmaxlttb", "lttb", "minmax", "m4")


@settings(deadline=None)
@given(
    y=st.lists(st.floats(width=64), max_size=300),
    points=st.integers(4, 50),
    method=st.sampled_from(METHODS),
    holes=st.booleans(),
)
def test_select(y: list[float], points: int, method: str, holes: bool) -> None:
    value = np.array(y, np.float64)
    x = np.arange(value.size) + (np.arange(value.size) > 150) * 10**12 * holes
    chosen = select(x, value, points, method)
    assert chosen.size <= max(points, 0)
    assert (np.diff(chosen) > 0).all()
    if value.size <= points:
        assert chosen.size == value.size
        return
    assert chosen[0] == 0
    assert chosen[-1] == value.size - 1
    if not np.isnan(value).all():
        assert np.nanmin(value[chosen]) == np.nanmin(value)
        assert np.nanmax(value[chosen]) == np.nanmax(value)


@pytest.mark.parametrize("method", METHODS)
def test_every_gap_stays_visible(method: str) -> None:
    value = np.sin(np.arange(100_000) / 1000)
    gaps = [(5_000, 5_001), (40_000, 60_000), (99_999, 100_000)]
    for start, end in gaps:
        value[start:end] = np.nan
    chosen = select(np.arange(value.size), value, 500, method)
    for start, end in gaps:
        assert np.isnan(value[chosen[(chosen >= start) & (chosen < end)]]).any()


@pytest.mark.parametrize("method", METHODS)
def test_holes_in_x_do_not_cost_points(method: str) -> None:
    x = np.concatenate([np.arange(5000), 10**9 + np.arange(5000)])
    chosen = select(x, np.sin(np.arange(10_000) / 50), 400, method)
    assert 200 <= chosen.size <= 400


def test_thin_keeps_extremes_of_bins() -> None:
    value = np.random.default_rng(0).standard_normal(10_000)
    kept = thin(value, 10)
    assert 20 <= kept.size <= 22 + 2
    for bin_ in np.split(np.arange(10_000), 10):
        inside = value[kept[(kept >= bin_[0]) & (kept <= bin_[-1])]]
        assert inside.min() == pytest.approx(value[bin_].min(), abs=1e-2)
