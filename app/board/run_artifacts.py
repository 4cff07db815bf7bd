"""Artifacts of a run: what it made and used, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import streamlit as st

import mlrun

from . import address, session
from .previews import download, preview
from .run_header import badge_text
from .run_live import fingerprint, goes_on, kept
from .run_media import again
from .states import empty
from .words import plain

if TYPE_CHECKING:
    from mlrun.view import RunView

__all__ = ["draw"]

_ROW = 35  # pixels
_ROWS = 10


def draw(view: RunView) -> None:
    """Draw the room."""
    frame = kept("lineage", (*fingerprint(view), again(view)), view.lineage)
    if frame.is_empty():
        empty(
            "No artifacts yet" if goes_on(view) else "No artifacts",
            "A run logs files, frames, models and pictures so:", 'run.log_artifact("model.pt", type="model")',
        )  # fmt: skip
        return
    listed = frame.unique(["role", "uri"], keep="last", maintain_order=True).reverse()
    words = st.text_input(
        "Find", key="find", bind="query-params", placeholder="part of a name or type", width=320,
        icon=":material/search:", label_visibility="collapsed", live="0.3s",
    )  # fmt: skip
    listed = _named(listed, words or "")
    if listed.is_empty():
        empty("No artifact of that name", "Others are here; empty the field to see them.")
        return
    chosen = _choose(listed)
    st.divider()
    _preview(chosen)


def _named(frame: pl.DataFrame, words: str) -> pl.DataFrame:
    for word in words.lower().split():
        holds = [
            pl.col(c).str.to_lowercase().str.contains(word, literal=True) for c in ("key", "type")
        ]
        frame = frame.filter(pl.any_horizontal(holds))
    return frame


def _choose(listed: pl.DataFrame) -> dict[str, Any]:
    """Draw the list; the artifact that is chosen is in the address."""
    roles = {"output": "made", "input": "used"}
    listing = listed.select(
        "key", "version", "type", "size", pl.col("role").replace(roles), "step", "time", "project"
    )
    wanted = address.text("artifact")
    place = listed["uri"].index_of(wanted) if wanted in listed["uri"] else 0
    picked = st.dataframe(
        listing, hide_index=True, on_select="rerun", selection_mode="single-row-required", key="_artifacts",
        selection_default={"selection": {"rows": [place or 0]}}, alt="Artifacts that the run made and used",
        height=_ROW * (1 + min(listing.height, _ROWS)) + 3,
        column_config={
            "size": st.column_config.NumberColumn(format="bytes"),
            "time": st.column_config.DatetimeColumn("time, UTC", format="YYYY-MM-DD HH:mm:ss"),
        },
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    row = listed.row(rows[0] if rows and rows[0] < listed.height else place or 0, named=True)
    if row["uri"] != wanted:
        address.put(artifact=row["uri"])
    return row


def _preview(row: dict[str, Any]) -> None:
    uri = row["uri"]
    item = kept("artifact", (uri,), lambda: mlrun.get_artifact(uri, store=session.store()))
    st.subheader(f"{plain(item.key)} v{item.version}", anchor=False)
    aliases = [a for a in item.aliases if a != "latest"]
    with st.container(horizontal=True, vertical_alignment="center"):
        for alias in aliases[:20]:
            st.badge(badge_text(alias), color="green")
        download(item, key="chosen")
        if st.button("Versions and lineage", key="_to_artifacts", icon=":material/deployed_code:"):
            address.go("artifacts", artifact=uri)
    st.caption(plain(uri))
    preview(item, key="chosen")
