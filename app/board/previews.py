"""Artifacts to look at: tables, pictures, plots, text, pages, sounds, folders; models by what is known of them.

And their bytes as a file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from mlrun.content.folders import FORMAT as FOLDER
from mlrun.content.references import is_url
from mlrun.errors import MlrunError

from . import session
from .look import COLORS
from .preview_facts import bars, model_facts, parsed, schema_table
from .preview_reading import (
    MOST_BYTES,
    ROWS,
    boxed,
    drawable,
    files_of,
    first_rows,
    kept_rows,
    kind_of,
    pretty,
    text_of,
)
from .states import trouble
from .words import bytes_of, plain

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem

__all__ = ["download", "preview"]

_DRAWN = frozenset({"table", "image", "audio", "video", "array", "plotly"})  # read as a whole
_LANGUAGES = {"py": "python", "yaml": "yaml", "yml": "yaml", "toml": "toml", "sql": "sql"}
_TREE = 300_000  # bytes of JSON that is shown as a tree
_DOWNLOAD = 2_000_000_000  # bytes that go through the memory of the dashboard
_HELD = {"format", "name", "class", "framework"}  # facts that the table of a model has
_TRACES = frozenset(  # those that fetch nothing
    """scatter scattergl scatter3d bar histogram histogram2d box violin heatmap contour surface pie parcoords parcats
    scatterpolar funnel waterfall""".split()  # noqa: SIM905
)


def preview(item: DataItem, key: str = "") -> None:
    """Draw what can be shown of an artifact; of bytes that are not what they say they are, that.

    Args:
        item: which.
        key: tells the widgets of several previews on a page apart.
    """
    try:
        _shown(item, key or item.sha256[:16])
    except (MlrunError, OSError) as error:
        trouble(error)
    except Exception as error:  # noqa: BLE001  stored bytes may be anything; the rest of the page stays
        why = plain(str(error)[:300])
        st.warning(f"It is not what it says it is, and cannot be shown: {why}")


def _shown(item: DataItem, key: str) -> None:
    form, small = str(item.meta.get("format")), (item.size or 0) <= _TREE
    if item.type == "histogram" and form == "json" and small:
        _histogram(item, key)
    elif item.type == "model" and not is_url(item.url):
        _model(item, key)
    elif form in ("json", "geojson") and small and not is_url(item.url):
        st.json(parsed(item.get(encoding="utf-8")), expanded=2)
    else:
        _by_kind(item, key)
    if (columns := schema_table(item.meta)).height and item.type != "model":
        with st.expander(f"{columns.height} columns"):
            st.dataframe(columns, hide_index=True, key=f"_schema_{key}", alt="Columns of the table")


def _by_kind(item: DataItem, key: str) -> None:
    kind = kind_of(item)
    if kind == "elsewhere":
        st.caption("It lies elsewhere and is not fetched for a preview:")
        st.code(item.url, language=None)
        return
    if caption := item.meta.get("caption"):
        st.caption(plain(caption))
    if kind in _DRAWN and (item.size or 0) > MOST_BYTES and not _wanted(item, key):
        _kept(item)
        return
    _draw(item, kind, key)


def download(item: DataItem, key: str) -> None:
    """Offer the bytes as a file; of a folder and of what lies elsewhere, say how they are had."""
    elsewhere = is_url(item.url) or item.meta.get("format") == FOLDER
    if elsewhere or (item.size or 0) > _DOWNLOAD:
        st.code(f"mlrun.get_artifact({item.uri!r}).download()", language="python")
        return
    st.download_button(
        f"Download {bytes_of(item.size)}", item.get, file_name=item.file_name, key=f"_get_{key}",
        icon=":material/download:", on_click="ignore", mime="application/octet-stream",
    )  # fmt: skip


def _wanted(item: DataItem, key: str) -> bool:
    """Whether somebody asked to see something large."""
    name = f"_large-{key}"
    if st.session_state.get(name):
        return True
    st.caption(f"It has {bytes_of(item.size)}.")
    return st.button("Read it all the same", key=name)


def _draw(item: DataItem, kind: str, key: str) -> None:
    match kind:
        case "table":
            _table(item)
        case "image":
            st.image(item.get(), alt=plain(item.key))
        case "audio":
            st.audio(item.get(), format=f"audio/{item.meta['format']}")
        case "video":
            st.video(item.get(), format=f"video/{item.meta['format']}")
        case "folder":
            found = files_of(session.store(), item)
            st.caption(f"{found.height:,} files, {bytes_of(item.size)}")
            st.dataframe(found, hide_index=True, alt="Files of the folder")
        case "html" | "svg":
            _page(item, key)
        case "vega" | "plotly":
            _plot(item, kind, key)
        case "json" | "text":
            _text(item, kind)
        case "array":
            _array(item)
        case _:
            _kept(item)


def _table(item: DataItem) -> None:
    if str(item.meta.get("format")) in ("parquet", "arrow", "csv", "tsv", "jsonl"):
        rows = first_rows(item)
        st.dataframe(rows, hide_index=True, alt=f"The first {rows.height} rows")
        total = item.meta.get("rows")
        if rows.height == ROWS and total != ROWS:
            of = f" of {total:,}" if total else ""
            st.caption(f"The first {rows.height:,} rows{of}.")
    else:
        _kept(item)


def _kept(item: DataItem) -> None:
    """Show what was known of it when it was logged."""
    rows = kept_rows(item)
    if rows is not None:
        st.dataframe(rows, hide_index=True, alt="The first rows")
        st.caption("The first rows, as they were when it was logged.")
    elif item.meta.get("format") in (None, "bytes"):
        st.caption("Bytes without a known format: there is nothing to show.")
    else:
        st.caption(
            f"Files of the format {plain(item.meta['format'])} are not opened here: what reads them may run code. Its "
            "metadata says what was known when it was logged."
        )


def _text(item: DataItem, kind: str) -> None:
    text, more = text_of(item)
    ending = str(item.meta.get("name") or "").rpartition(".")[2].lower()
    language = "json" if kind == "json" else _LANGUAGES.get(ending)
    st.code(pretty(text) if kind == "json" and not more else text, language=language)
    if more:
        st.caption("The beginning of it.")


def _page(item: DataItem, key: str) -> None:
    text, more = text_of(item)
    drawn = not more and st.toggle("Draw it, without scripts", key=f"_page-{key}")
    if drawn:
        st.iframe(boxed(text), height=480, alt=plain(item.key))
    else:
        st.code(text, language="html")
    if more:
        st.caption("The beginning of it.")


def _plot(item: DataItem, kind: str, key: str) -> None:
    text = str(item.get(encoding="utf-8"))
    spec = drawable(text) if kind == "vega" else None
    if spec is not None:
        st.vega_lite_chart(spec=spec, width="stretch", key=f"_vega-{key}", alt=plain(item.key))
    elif kind == "plotly" and _has_plotly():
        _plotly(text, key)
    else:
        st.caption("The chart is shown as its source: it does more than draw, or cannot be drawn.")
        st.code(pretty(text)[:200_000], language="json")


def _plotly(text: str, key: str) -> None:
    """Draw traces and axes; what else a figure may hold (pictures, buttons, links) is left out."""
    import plotly.graph_objects as go

    try:
        found: dict[str, Any] = json.loads(text)
        layout = found.get("layout") or {}
        names = ("title", "xaxis", "yaxis", "barmode", "legend", "showlegend", "scene")
        data = [t for t in found.get("data") or [] if t.get("type", "scatter") in _TRACES]
        figure = go.Figure({"data": data, "layout": {n: layout[n] for n in names if n in layout}})
    except (ValueError, TypeError, AttributeError):
        st.caption("It is no figure that Plotly knows; its source:")
        st.code(text[:200_000], language="json")
        return
    st.plotly_chart(figure, key=f"_plotly-{key}")


def _has_plotly() -> bool:
    from importlib.util import find_spec

    return find_spec("plotly") is not None


def _array(item: DataItem) -> None:
    import numpy as np

    try:
        found = np.load(item.path(), mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError):
        st.caption("It is no array that could be read without running code.")
        return
    st.caption(f"shape {found.shape}, {found.dtype}")
    flat = found.reshape(1, -1) if found.ndim < 2 else found.reshape(-1, found.shape[-1])
    st.dataframe(np.array(flat[:200, :50]), alt="Its first values")


def _histogram(item: DataItem, key: str) -> None:
    content = parsed(item.get(encoding="utf-8"))
    frame = bars(content)
    along = {"type": "quantitative", "axis": {"title": None}, "scale": {"zero": False}}
    up = {"field": "count", "type": "quantitative", "axis": {"title": "values"}}
    spec = {
        "height": 220,
        "mark": {"type": "rect", "color": COLORS[0], "tooltip": True},
        "encoding": {
            "x": {"field": "low", **along}, "x2": {"field": "high"}, "y": up, "y2": {"datum": 0},
        },
    }  # fmt: skip
    st.vega_lite_chart(frame.to_arrow(), spec, key=f"_bars_{key}", alt=f"Histogram {item.key}")
    lost = {name: content.get(name) for name in ("nan", "infinite") if content.get(name)}
    said = "".join(f", {count} {name}" for name, count in lost.items())
    st.caption(plain(f"{int(frame['count'].sum()):,} values{said}"))


def _model(item: DataItem, key: str) -> None:
    st.dataframe(
        model_facts(item), hide_index=True, key=f"_model_{key}", alt="Facts about the model"
    )
    if rest := {k: v for k, v in item.meta.items() if k not in _HELD and v}:
        st.json(rest, expanded=2)
    st.caption("The dashboard never loads a model: what is in the file could run code.")
