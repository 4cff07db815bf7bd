"""What is run by the clock: when next, what came of it last; editors pause it and let it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.errors import MlrunError
from mlrun.workflows.schedule import enable_schedule, list_schedules

from . import address, session
from .memory import forget, kept
from .states import empty
from .words import plain

if TYPE_CHECKING:
    import polars as pl

__all__ = ["schedules_room"]

_FRESH = 10.0  # seconds
_FIRST = """project.set_workflow("nightly", "flow.py", schedule="0 3 * * *")
# then, on the host that keeps the clock:  mlrun scheduler"""


def schedules_room(project: str) -> None:
    """Draw the schedules of a project; empty for all."""
    store = session.store()
    found = kept(
        "schedules", (store.url, project), _FRESH, lambda: list_schedules(store, project or None)
    )
    if found.is_empty():
        empty("No schedules yet", "A workflow or a function is run by the clock so:", _FIRST)
        return
    order = ["name", "project", "kind", "cron", "timezone", "enabled", "next_at", "fired_at", "last_state"]  # fmt: skip
    time = "YYYY-MM-DD HH:mm"
    picked = st.dataframe(
        found.select(order), hide_index=True, on_select="rerun", selection_mode="single-row",
        key="_schedules", alt="Schedules",
        column_config={
            "next_at": st.column_config.DatetimeColumn("next, UTC", format=time),
            "fired_at": st.column_config.DatetimeColumn("last, UTC", format=time),
        },
    )  # fmt: skip
    st.caption("`mlrun scheduler` keeps the clock. Choose a row for more.")
    rows = picked["selection"]["rows"]
    if rows and rows[0] < found.height:
        _chosen(found, rows[0])


def _chosen(found: pl.DataFrame, number: int) -> None:
    row = found.row(number, named=True)
    with st.container(border=True):
        st.subheader(plain(row["name"]), anchor=False)
        if row["place"]:
            st.caption(f"{plain(row['place'])} keeps its clock.")
        with st.container(horizontal=True):
            if row["last_run"] and st.button(
                "Its last run", key="_last", icon=":material/show_chart:"
            ):
                address.go("run", id=row["last_run"])
            if session.may("editor", row["project"]) and not row["place"]:
                _pause(row["project"], row["name"], bool(row["enabled"]))


def _pause(project: str, name: str, enabled: bool) -> None:
    if not st.button("Pause it" if enabled else "Let it go on", key="_pause"):
        return
    try:
        enable_schedule(session.store(), project, name, enabled=not enabled)
    except MlrunError as error:
        st.error(plain(str(error)))
        return
    forget("schedules")
    st.rerun()
