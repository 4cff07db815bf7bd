"""Workflows: their runs, and of one of them the graph with states, its steps, history and who was told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

import mlrun

from . import address, session
from .memory import kept
from .states import empty
from .workflows_run import workflow_room

if TYPE_CHECKING:
    import polars as pl

__all__ = ["draw"]

_ROWS = 100
_FRESH = 5.0  # seconds
_COLUMNS = ["run_id", "name", "project", "state", "started_at", "duration", "user"]
_FIRST = """@mlrun.workflow
def pipeline(lr: float = 0.1):
    project = mlrun.get_current_project()
    train = project.run_function("train", params={"lr": lr}, returns=["model"])
    project.run_function("test", inputs={"model": train.outputs["model"]})

project.set_workflow("main", "flow.py")
project.run("main")"""


def draw() -> None:
    """Draw the page."""
    if run_id := address.text("id"):
        workflow_room(run_id)
        return
    st.title("Workflows", anchor=False)
    project = address.text("project")
    name = st.text_input(
        "Name", key="name", bind="query-params", placeholder="exactly, or empty for all", width=320
    )
    where = "kind = 'workflow'"
    if name:
        where += " and name = '" + name.replace("'", "''") + "'"
    store = session.store()
    found = kept(
        "workflows", (store.url, project, where), _FRESH,
        lambda: mlrun.runs(
            project or None, where=where, limit=_ROWS, columns=_COLUMNS, children=True, store=store
        ),
    )  # fmt: skip
    if found.is_empty():
        if name:
            empty("No workflow of that name has run", "Empty the field to see all of them.")
        else:
            empty("No workflows yet", "A workflow is a function whose calls become steps:", _FIRST)
        return
    _list(found)


def _list(found: pl.DataFrame) -> None:
    picked = st.dataframe(
        found.drop("run_id"), hide_index=True, on_select="rerun", selection_mode="single-row",
        key="_workflows", alt="Runs of workflows, the newest first",
        column_config={
            "started_at": st.column_config.DatetimeColumn("started, UTC", format="YYYY-MM-DD HH:mm:ss"),
        },
    )  # fmt: skip
    st.caption(
        f"The {_ROWS} newest." if found.height == _ROWS else "Choose a row to open its graph."
    )
    rows = picked["selection"]["rows"]
    if rows and rows[0] < found.height:
        address.go("workflows", id=found["run_id"][rows[0]], project=address.text("project"))
