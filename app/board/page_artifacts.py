"""Models and artifacts: what runs made, by project and type; one version of one of them, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.content.naming import artifact_uri

from . import address, session
from .artifacts_find import MOST_KEYS, find_keys, types_of
from .artifacts_version import version_room
from .memory import kept
from .states import empty

if TYPE_CHECKING:
    import polars as pl

__all__ = ["draw"]

_FIRST = """import mlrun

with mlrun.init(project="first") as run:
    run.log_dataset("train", frame)
    run.log_model("clf", body=model)"""
_FRESH = 10.0  # seconds


def draw() -> None:
    """Draw the page."""
    if uri := address.text("artifact"):
        version_room(uri)
        return
    st.title("Models and artifacts", anchor=False)
    project = address.text("project")
    store = session.store()
    types = kept("artifact types", (store.url, project), _FRESH, lambda: types_of(store, project))
    with st.container(horizontal=True):
        kind = st.selectbox(
            "Type", ["", *types], key="type", bind="query-params", width=200,
            format_func=lambda name: name or "All types",
        )  # fmt: skip
        text = st.text_input(
            "Name", key="find", bind="query-params", placeholder="part of a name", width=320
        )
    question = (store.url, project, kind, text)
    found = kept(
        "artifacts", question, _FRESH, lambda: find_keys(store, project, kind or "", text or "")
    )
    if found.is_empty():
        if kind or text:
            empty("No artifact fits", "Choose another type, or a shorter part of the name.")
        else:
            empty("No artifacts yet", "Runs make them:", _FIRST)
        return
    _list(found)


def _list(found: pl.DataFrame) -> None:
    listed = found.head(MOST_KEYS)
    order = ["key", "type", "project", "version", "versions", "created_at"]
    picked = st.dataframe(
        listed.select(order), hide_index=True, on_select="rerun", selection_mode="single-row",
        key="_artifacts", alt="Artifacts, the newest first",
        column_config={
            "version": st.column_config.NumberColumn("newest", format="v%d"),
            "created_at": st.column_config.DatetimeColumn("made, UTC", format="YYYY-MM-DD HH:mm"),
        },
    )  # fmt: skip
    if found.height > MOST_KEYS:
        st.caption(f"The {MOST_KEYS} newest; a part of the name finds the others.")
    else:
        st.caption("Choose a row to open it.")
    rows = picked["selection"]["rows"]
    if rows and rows[0] < listed.height:
        row = listed.row(rows[0], named=True)
        uri = artifact_uri(row["project"], row["key"], row["version"])
        address.go("artifacts", artifact=uri, project=address.text("project"))
