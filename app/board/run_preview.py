"""An artifact in the page of a run: its preview, what else is known of it, and its bytes as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.content.folders import FORMAT as FOLDER
from mlrun.content.references import is_url
from mlrun.errors import MlrunError

from .look import COLORS
from .previews import preview
from .run_content import bars, model_facts, parsed, schema_table
from .states import trouble
from .words import bytes_of, plain

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem

__all__ = ["download", "shown"]

_TREE = 300_000  # bytes of JSON that is shown as a tree
_DOWNLOAD = 2_000_000_000  # bytes that go through the memory of the dashboard
_HELD = {"format", "name", "class", "framework"}  # facts that the table of a model has


def shown(item: DataItem, key: str) -> None:
    """Show an artifact; of bytes that are not what they say they are, that.

    Args:
        item: which.
        key: unique on the page, for its widgets.
    """
    try:
        _draw(item, key)
    except (MlrunError, OSError) as error:
        trouble(error)
    except Exception as error:  # noqa: BLE001  stored bytes may be anything; the rest of the page stays
        why = plain(str(error)[:300])
        st.warning(f"It is not what it says it is, and cannot be shown: {why}")


def _draw(item: DataItem, key: str) -> None:
    form, small = str(item.meta.get("format")), (item.size or 0) <= _TREE
    if item.type == "histogram" and form == "json" and small:
        _histogram(item, key)
    elif item.type == "model":
        _model(item, key)
    elif form in ("json", "geojson") and small and not is_url(item.url):
        st.json(parsed(item.get(encoding="utf-8")), expanded=2)
    else:
        preview(item, key)
    if (columns := schema_table(item.meta)).height and item.type != "model":
        with st.expander(f"{columns.height} columns"):
            st.dataframe(columns, hide_index=True, key=f"_schema_{key}", alt="Columns of the table")


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
