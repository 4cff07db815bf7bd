"""Runs of functions that go on or wait, wherever they are performed; each can be aborted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

import mlrun
from mlrun.errors import MlrunError

from . import address, session
from .words import ago, plain

if TYPE_CHECKING:
    import polars as pl

__all__ = ["runs_room"]

_MOST = 200
_COLUMNS = ["run_id", "name", "project", "state", "kind", "function", "user", "host", "started_at"]
_OPEN = "state in ('running', 'pending', 'pending_retry', 'aborting')"


def runs_room(project: str) -> None:
    """Draw the runs of a project that go on; empty for all."""
    st.subheader("Runs", anchor=False)
    found = mlrun.runs(
        project or None, where=f"{_OPEN} and kind != 'run'", limit=_MOST, columns=_COLUMNS, children=True,
        store=session.store(),
    )  # fmt: skip
    if found.is_empty():
        st.caption("No function runs or waits.")
        return
    picked = st.dataframe(
        found.drop("run_id"), hide_index=True, on_select="rerun", selection_mode="single-row",
        key="_open_runs", alt="Runs of functions that go on or wait",
        column_config={
            "started_at": st.column_config.DatetimeColumn("started, UTC", format="YYYY-MM-DD HH:mm:ss"),
        },
    )  # fmt: skip
    st.caption(f"The {_MOST} newest." if found.height == _MOST else "Choose a run to open or abort it.")  # fmt: skip
    rows = picked["selection"]["rows"]
    if rows and rows[0] < found.height:
        _chosen(found, rows[0])


def _chosen(found: pl.DataFrame, number: int) -> None:
    row = found.row(number, named=True)
    with st.container(border=True):
        st.write(
            f"**{plain(row['name'])}** of {plain(row['project'])}, {plain(row['state'])}, "
            f"started {ago(row['started_at']) or 'not yet'}"
        )
        with st.container(horizontal=True):
            if st.button("Open it", key="_open_run", icon=":material/show_chart:"):
                address.go("run", id=row["run_id"])
            if session.may("editor", row["project"]) and row["state"] != "aborting":
                _abort(row)


def _abort(row: dict[str, Any]) -> None:
    with st.popover("Abort", icon=":material/stop_circle:"):
        st.write("It is stopped wherever it runs, and so are its iterations and steps.")
        if st.button("Abort it now", key=f"_abort-{row['run_id']}", type="primary"):
            try:
                view = mlrun.get_run(row["run_id"], store=session.store())
                view.abort(reason="aborted in the dashboard", timeout=0)
            except (MlrunError, TimeoutError) as error:
                st.error(plain(str(error)))
            else:
                st.rerun(scope="fragment")
