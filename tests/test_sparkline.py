from __future__ import annotations

import math

from hypothesis import given, strategies as st

from mlrun.sparkline import sparkline


def test_bars_follow_the_values() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3.0, 3.0]) == "▄▄"
    assert sparkline([0.0, math.nan, None, 1.0]) == "▁  █"
    assert sparkline([0.0, math.inf, 1.0, -math.inf]) == "▁██▁"
    assert sparkline([-1e308, 1e308]) == "▁█"
    assert sparkline([math.nan]) == " "
    assert sparkline([]) == ""


def test_a_spike_stays_visible_when_many_values_share_a_bar() -> None:
    values = [0.0] * 1000
    values[500] = 1.0
    assert sparkline(values, 10).count("█") == 1


@given(st.lists(st.none() | st.floats()), st.integers(1, 50))
def test_any_values_fit_the_width(values: list[float | None], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= set(" ▁▂▃▄▅▆▇█")
