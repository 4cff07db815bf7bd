"""Functions of a project and their versions, its schedules, and what its document says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.functions.store import list_versions

from . import address, session
from .functions_diff import grouped
from .functions_project import project_room
from .functions_schedules import schedules_room
from .functions_version import function_room
from .memory import kept
from .states import empty

if TYPE_CHECKING:
    import polars as pl

__all__ = ["draw"]

_FUNCTIONS, _SCHEDULES, _PROJECT = "Functions", "Schedules", "Project"
_FRESH = 10.0  # seconds
_FIRST = """import mlrun

project = mlrun.get_or_create_project("first")
fn = project.set_function("trainer.py", name="train", handler="train")
fn.run(params={"lr": 0.1})"""


def draw() -> None:
    """Draw the page."""
    project, name = address.text("project"), address.text("name")
    store = session.store()
    if name and project:
        versions = kept(
            "versions of a function", (store.url, project, name), _FRESH,
            lambda: list_versions(store, project, name),
        )  # fmt: skip
        function_room(versions, project, name)
        return
    st.title("Functions", anchor=False)
    rooms = [_FUNCTIONS, _SCHEDULES, *([_PROJECT] if project else [])]
    if st.session_state.get("show") not in (None, *rooms):
        del st.session_state["show"]
    room = st.segmented_control(
        "Room", rooms, default=_FUNCTIONS, key="show", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    if room == _SCHEDULES:
        schedules_room(project)
    elif room == _PROJECT:
        project_room(project)
    else:
        _list(
            kept(
                "functions", (store.url, project), _FRESH,
                lambda: grouped(list_versions(store, project or None)),
            )
        )  # fmt: skip


def _list(found: pl.DataFrame) -> None:
    if found.is_empty():
        empty("No functions yet", "A function is stored with its code when it is run:", _FIRST)
        return
    picked = st.dataframe(
        found, hide_index=True, on_select="rerun", selection_mode="single-row", key="_functions",
        alt="Functions, the latest changed first",
        column_config={
            "changed": st.column_config.DatetimeColumn("changed, UTC", format="YYYY-MM-DD HH:mm"),
        },
    )  # fmt: skip
    st.caption("Choose a row to see its versions and code.")
    rows = picked["selection"]["rows"]
    if rows and rows[0] < found.height:
        row = found.row(rows[0], named=True)
        address.go("functions", name=row["name"], project=row["project"])
