from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun
from mlrun.app.board.preview_reading import (
    boxed,
    drawable,
    files_of,
    first_rows,
    kept_rows,
    kind_of,
    pretty,
)
from mlrun.errors import ObjectError
from mlrun.store import open_store

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"
_PAGE = """
import mlrun
from mlrun.app.board.states import guarded
from mlrun.app.board.previews import preview

def draw():
    for key in {keys!r}:
        preview(mlrun.get_artifact("p/" + key))

guarded(draw)()
"""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from streamlit.testing.v1 import AppTest

    from mlrun.app.board import session

    monkeypatch.setattr(session, "_alone", lambda: True)
    return lambda *keys: AppTest.from_string(_PAGE.format(keys=keys), default_timeout=60).run()


def test_each_kind_is_drawn_as_what_it_is(drawn: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / HOSTILE.replace("/", "")).write_text("x")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with mlrun.init(project="p") as run:
        run.log_table("rows", pl.DataFrame({"a.b": [1, 2], "tags": [["x"], []]}))
        run.log_artifact("csv", local_path=tmp_path / "a.csv")
        run.log_image("pic", [[0, 255], [255, 0]])
        run.log_artifact("words", body=HOSTILE)
        run.log_artifact("tree", body={"a": [1, HOSTILE]})
        run.log_html("site", f"<h1>hi</h1>{HOSTILE}")
        run.log_artifact("folder", local_path=folder)
        run.log_artifact("blob", body=b"\0\1")
        run.log_model("clf", body=b"not to be opened")
        run.log_artifact("far", local_path="https://example.invalid/x.csv")
    page = drawn("rows", "csv", "pic", "words", "tree", "site", "folder", "blob", "clf", "far")
    assert not page.exception
    rows, columns, csv, files, model = (frame.value for frame in page.dataframe)
    assert [f.shape for f in (rows, csv, files)] == [(2, 2), (1, 2), (1, 2)]
    assert columns["column"].to_list() == ["a.b", "tags"]
    assert "clf" in model["value"].to_list()[0]
    assert len(page.get("image")) == 1
    code = [c.value for c in page.code]
    assert HOSTILE in code[0]
    assert json.loads(page.json[0].value) == {"a": [1, HOSTILE]}
    assert code[1].startswith("<h1>hi</h1>")
    assert code[-1] == "https://example.invalid/x.csv"
    assert "nothing to show" in shown(page)
    page.toggle[0].set_value(True).run()
    assert not page.exception
    assert len(page.get("iframe")) == 1


def test_figures_are_drawn_and_what_fetches_is_left_out(drawn: Callable[..., Any]) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    with mlrun.init(project="p") as run:
        figure = go.Figure([go.Scatter(y=[1, 2]), go.Choropleth(geojson="https://example.invalid")])
        run.log_figure("plot", figure)
    page = drawn("plot")
    assert not page.exception
    (plot,) = page.get("plotly_chart")
    assert "example.invalid" not in plot.proto.spec
    assert "scatter" in plot.proto.spec


def test_what_is_large_is_read_when_asked_for(
    drawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlrun.app.board.previews.MOST_BYTES", 10)
    with mlrun.init(project="p") as run:
        run.log_table("rows", pl.DataFrame({"a": range(100)}))
    page = drawn("rows")
    assert page.dataframe[0].value.shape == (20, 1)
    page.button[0].click().run()
    assert page.dataframe[0].value.shape == (100, 1)


def test_damaged_files_are_said_to_be(drawn: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with mlrun.init(project="p") as run:
        item = run.log_artifact("broken", local_path=tmp_path / "a.parquet")
    with pytest.raises(ObjectError):
        first_rows(item)
    page = drawn("broken")
    assert not page.exception
    assert "claims to be" in shown(page)


def test_stored_markup_gets_a_frame_of_no_origin() -> None:
    page = boxed('"><script>alert(1)</script>')
    assert 'sandbox=""' in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert '"><' not in page.split("srcdoc=", 1)[1][:-20]


def test_a_chart_that_only_draws_its_own_values_is_drawn() -> None:
    good = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"name": "d"}, "datasets": {"d": [{"href": HOSTILE, "a.b": 1, "t": None}]},
        "mark": {"type": "bar", "tooltip": True}, "params": [{"name": "zoom", "bind": "scales"}],
        "encoding": {"x": {"field": "a\\.b", "type": "quantitative"}},
    }  # fmt: skip
    found = drawable(json.dumps(good))
    assert found is not None
    assert "params" not in found


@pytest.mark.parametrize(
    "part",
    [
        {"data": {"url": "https://example.invalid"}},
        {"encoding": {"href": {"field": "x"}}},
        {"transform": [{"calculate": "alert(1)", "as": "x"}]},
        {"mark": {"type": "bar", "color": {"expr": "alert(1)"}}},
        {"encoding": {"x": {"axis": {"labelExpr": "alert(1)"}}}},
        {"data": {"values": {"x": [{"y": {"url": "z"}}]}}},
        {"data": {"values": "https://example.invalid"}},
        {"mark": {"type": "image", "url": "x"}},
    ],
)
def test_a_chart_that_fetches_or_computes_is_not_drawn(part: dict[str, Any]) -> None:
    assert drawable(json.dumps({"mark": "bar", **part})) is None


def test_what_is_no_chart_is_not_drawn() -> None:
    assert drawable("[1") is None
    assert drawable("[1]") is None
    assert pretty("{") == "{"
    assert drawable("[" * 100_000) is None


def test_a_forged_preview_is_no_table() -> None:
    from mlrun.content.dataitem import DataItem

    row = {"project": "p", "key": "k", "type": "dataset", "uri": "objects/x"}
    for kept in ({"columns": 3}, {"columns": ["a", "a"], "rows": [[1, 2]]}, {"rows": [[1]]}):
        item = DataItem(open_store(), {**row, "meta": {"preview": kept}})
        assert kept_rows(item) is None
    item = DataItem(
        open_store(), {**row, "meta": {"preview": {"columns": ["a"], "rows": [1, [2]]}}}
    )
    assert kind_of(item) == "table"
    found = kept_rows(item)
    assert found is not None
    assert found.rows() == [("2",)]


def test_files_of_a_folder_are_listed_without_copying_them(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "a.txt").write_text("abc")
    with mlrun.init(project="p") as run:
        item = run.log_artifact("d", local_path=tmp_path / "d")
    assert files_of(open_store(), item).rows() == [("sub/a.txt", 3)]
