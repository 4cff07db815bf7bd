from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from mlrun.app.board.vectorfile import svg, ticks

HOSTILE = "</script><img src=x onerror=alert(1)> & \x00\x0b"


def _file(frame: pl.DataFrame, **given: Any) -> ElementTree.Element:
    return ElementTree.fromstring(svg(frame, [HOSTILE], ["#123456"], title=HOSTILE, **given))


def test_the_file_is_xml_whatever_the_names_are() -> None:
    frame = pl.DataFrame({
        "series": [HOSTILE] * 4 + ["other"], "x": [0.0, 1, 2, 3, 0],
        "y": [1.0, float("nan"), 2, None, float("inf")],
    })  # fmt: skip
    found = _file(frame)
    kinds = {e.tag.rpartition("}")[2] for e in found.iter()}
    assert kinds == {"svg", "rect", "path", "text"}
    assert any("<img" in (e.text or "") for e in found.iter())


def test_a_gap_breaks_the_line() -> None:
    frame = pl.DataFrame({
        "series": [HOSTILE] * 4, "x": [0.0, 1, 2, 3], "y": [1.0, 2.0, float("nan"), 3.0],
    })  # fmt: skip
    [line] = [e for e in _file(frame).iter() if e.get("stroke-width") == "1.6"]
    assert line.get("d", "").count("M") == 2


@pytest.mark.parametrize("log", [(False, False), (True, True)])
def test_bands_logarithms_times_and_nothing_at_all_can_be_drawn(log: tuple[bool, bool]) -> None:
    frame = pl.DataFrame({
        "series": [HOSTILE] * 3, "x": [0, 1, 2], "y": [0.0, 1.0, 100.0],
        "low": [-1.0, 0.5, 50], "high": [1.0, 2, None],
    })  # fmt: skip
    drawn = [
        _file(frame, log=log, bands=[("low", "high")]),
        _file(frame, log=log, time=True),
        _file(frame.clear(), log=log, bands=[("low", "high")]),
    ]
    strokes = [[e for e in file.iter() if e.get("stroke-width") == "1.6"] for file in drawn]
    assert [any(e.get("d") for e in lines) for lines in strokes] == [True, True, False]
    values = [v for file in drawn for e in file.iter() for v in e.attrib.values()]
    assert not [v for v in values if "nan" in v or "inf" in v]


@pytest.mark.parametrize("ends", [(0, 1), (-3e-9, 4e-9), (1e300, 1.7e308), (5, 5.0000001), (1, 1)])
def test_marks_are_round_few_and_inside(ends: tuple[float, float]) -> None:
    found = ticks(*ends)
    assert 1 <= len(found) <= 12
    wide = ends[1] - ends[0]
    assert all(ends[0] - wide * 0.01 <= v <= ends[1] + wide * 0.01 for v in found)
