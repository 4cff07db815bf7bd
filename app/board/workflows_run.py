"""One run of a workflow, live while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import streamlit as st

import mlrun
from mlrun.errors import MlrunError
from mlrun.view import TERMINAL_STATES
from mlrun.workflows.picture import svg

from . import address, session
from .look import state_badge
from .states import guarded
from .words import ago, lasting, plain
from .workflows_graph import MOST_STEPS, again_line, arguments_of, nodes_of, sent

if TYPE_CHECKING:
    from mlrun.view import RunView

__all__ = ["workflow_room"]

_EVERY = 2.0  # seconds between two looks at one that goes on
_HISTORY = 20
_TIMES = {
    "started_at": st.column_config.DatetimeColumn("started, UTC", format="YYYY-MM-DD HH:mm:ss"),
    "time": st.column_config.DatetimeColumn("time, UTC", format="YYYY-MM-DD HH:mm:ss"),
}


def workflow_room(run_id: str) -> None:
    """Draw a run of a workflow; NotFound if there is none."""
    if st.button("All workflows", key="_back", icon=":material/arrow_back:", type="tertiary"):
        address.go("workflows", project=address.text("project"))
    view = mlrun.get_run(run_id, store=session.store())
    st.title(plain(view.name), anchor=False)
    if view.record["kind"] != "workflow":
        st.caption("This run is no workflow.")
        if st.button("Open it as a run", key="_as_run"):
            address.go("run", id=view.id)
        return
    goes_on = view.state not in TERMINAL_STATES
    st.fragment(guarded(lambda: _live(view, goes_on)), run_every=_EVERY if goes_on else None)()
    _arguments(view)
    _told(view)
    _history(view)
    _again(view)


def _live(view: RunView, goes_on: bool) -> None:
    """Draw what changes: state, graph, steps."""
    if goes_on:
        view.refresh()
        if view.state in TERMINAL_STATES:
            st.rerun()
    began, ended = view.started_at, view.finished_at
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(view.state)
        took = f" · took {lasting(ended - began)}" if began and ended else ""
        st.caption(f"{plain(view.project)} · started {ago(began)}{took}")
        if goes_on and session.may("editor", view.project):
            _abort(view)
    if view.error:
        st.code(view.error.strip().splitlines()[-1][:2_000], language=None, wrap_lines=True)
    steps = _steps(view)
    nodes = nodes_of(view.provenance, steps)
    if not nodes:
        st.caption("No step has begun.")
        return
    alt = f"Graph of {len(nodes)} steps, which the table lists with their states"
    with st.container(horizontal=True, horizontal_alignment="left"):
        st.image(svg(nodes), alt=alt)
    _open_one(steps, "_steps", "Steps, the first begun first", "Choose a step to open its run.")


def _steps(view: RunView) -> pl.DataFrame:
    where = "parent = '" + view.id.replace("'", "''") + "'"
    columns = ["run_id", "name", "state", "started_at", "duration", "function", "error"]
    found = mlrun.runs(
        where=where, order_by="started_at", limit=MOST_STEPS, columns=columns, children=True,
        archived=True, store=session.store(),
    )  # fmt: skip
    last = pl.col("error").str.strip_chars().str.split("\n").list.last().str.head(300)
    return found.with_columns(pl.col("function").str.replace("@.*", ""), last)


def _open_one(frame: pl.DataFrame, key: str, alt: str, hint: str) -> None:
    picked = st.dataframe(
        frame.drop("run_id"), hide_index=True, on_select="rerun", selection_mode="single-row",
        key=key, alt=alt, column_config=_TIMES,
    )  # fmt: skip
    st.caption(hint)
    rows = picked["selection"]["rows"]
    if rows and rows[0] < frame.height:
        address.go("run", id=frame["run_id"][rows[0]])


def _abort(view: RunView) -> None:
    with st.popover("Abort", icon=":material/stop_circle:"):
        st.write("It and its steps are stopped; what has completed stays.")
        if st.button("Abort it now", key="_abort", type="primary"):
            try:
                view.abort(reason="aborted in the dashboard", timeout=0)
            except (MlrunError, TimeoutError) as error:
                st.error(plain(str(error)))
            else:
                st.rerun()


def _arguments(view: RunView) -> None:
    if given := arguments_of(view.provenance):
        st.subheader("Arguments", anchor=False)
        schema = {"name": pl.String, "value": pl.String}
        rows = pl.DataFrame(list(given.items()), schema=schema, orient="row")
        st.dataframe(rows, hide_index=True, alt="Arguments of the workflow")


def _told(view: RunView) -> None:
    rows = sent(view.labels)
    if not rows.is_empty():
        st.subheader("Notifications", anchor=False)
        st.dataframe(rows, hide_index=True, alt="Who was told", column_config=_TIMES)


def _history(view: RunView) -> None:
    where = "kind = 'workflow' and name = '" + view.name.replace("'", "''") + "'"
    columns = ["run_id", "state", "started_at", "duration", "user"]
    found = mlrun.runs(
        view.project, where=where, limit=_HISTORY, columns=columns, children=True, store=session.store()
    )  # fmt: skip
    others = found.filter(pl.col("run_id") != view.id)
    if others.is_empty():
        return
    st.subheader("Other runs of it", anchor=False)
    picked = st.dataframe(
        others.drop("run_id"), hide_index=True, on_select="rerun", selection_mode="single-row",
        key="_history", alt="Other runs of this workflow, the newest first", column_config=_TIMES,
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    if rows and rows[0] < others.height:
        address.go("workflows", id=others["run_id"][rows[0]], project=address.text("project"))


def _again(view: RunView) -> None:
    if view.state not in TERMINAL_STATES:
        return
    with st.expander("Run it again"):
        st.caption("The dashboard runs no stored code. Where your code and data are:")
        st.code(again_line(view.id, view.state, view.provenance, view.project), language="python")
