"""Home: the projects and how busy they are, what runs now, what failed last; each opens the page that tells more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

import mlrun

from . import address, session
from .home_activity import DAYS, FAILED, activity, failed, progress, recent, running
from .memory import kept
from .states import guarded, no_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

__all__ = ["draw"]

_BOTH = 15.0  # seconds between two looks while nothing runs
_MOVING = 1.0
_PIXELS = 35  # of a row
_MOST = 10  # rows of a table before it scrolls


def draw() -> None:
    """Draw the page."""
    st.title("Home", anchor=False)
    store, project = session.store(), address.text("project")
    found = kept("projects", (), 15.0, lambda: mlrun.projects(store=store))
    if not found["runs"].sum():
        no_runs()
        _first_steps()
        return
    _now(project)
    st.subheader("Failed last", anchor=False)
    _failures(project)
    st.subheader("Projects", anchor=False)
    _projects(found)


def _first_steps() -> None:
    st.write("Whatever else logs to this store appears here, too. This is the store that is shown:")
    st.code(session.store().url, language=None)


def _now(project: str) -> None:
    """Draw what runs now; it looks again by itself."""
    pace = _MOVING if _running(project).height else _BOTH

    def live() -> None:
        found = _running(project)
        if (_MOVING if found.height else _BOTH) != pace:
            st.rerun()
        st.subheader("Running now", anchor=False)
        if found.is_empty():
            st.caption("Nothing runs.")
            return
        store = session.store()
        shown = kept(
            "home progress", tuple(found["run_id"]), _MOVING * 0.9,
            lambda: progress(store, found, datetime.now(UTC)),
        )  # fmt: skip
        column = st.column_config
        _table(
            shown, "now", "What runs now",
            {
                "lasted": column.NumberColumn("running for", format="localized"),
                "value": column.NumberColumn("last value", format="%.5g"),
                "curve": column.LineChartColumn(width="medium"),
            },
            lambda row: address.go("run", id=row["run_id"]),
        )  # fmt: skip

    st.fragment(run_every=pace)(guarded(live))()


def _running(project: str) -> pl.DataFrame:
    store = session.store()
    return kept("home running", project, _MOVING * 0.9, lambda: running(store, project))


def _failures(project: str) -> None:
    store = session.store()
    found = kept("home failed", project, _BOTH, lambda: failed(store, project))
    if found.is_empty():
        st.caption("Nothing has failed.")
        return
    column = st.column_config
    _table(
        found, "failed", "What failed last",
        {
            "started_at": column.DatetimeColumn("started (UTC)", format="YYYY-MM-DD HH:mm"),
            "error": column.TextColumn(width="large"),
        },
        lambda row: address.go("run", id=row["run_id"]),
    )  # fmt: skip


def _projects(found: pl.DataFrame) -> None:
    store = session.store()
    lately = kept("home recent", (), 60.0, lambda: recent(store))
    column = st.column_config
    _table(
        activity(found, lately, datetime.now(UTC)), "projects", "Projects",
        {
            "failed": column.NumberColumn("failed (last day)"),
            "days": column.BarChartColumn(f"runs a day, {DAYS} days", width="medium"),
            "last_started_at": column.DatetimeColumn("last start (UTC)", format="YYYY-MM-DD HH:mm"),
        },
        _open_project,
    )  # fmt: skip
    st.caption("Click a name, or a number, to see the runs.")


def _open_project(row: dict[str, Any], clicked: str = "project") -> None:
    states = {"running": ["running"], "failed": list(FAILED)}.get(clicked, [])
    address.go("runs", project=row["project"], state=states)


def _table(
    frame: pl.DataFrame, name: str, alt: str, config: dict[str, Any], follow: Callable[..., None]
) -> None:
    """Draw a table of which the cell that is clicked opens a page."""
    column = st.column_config
    first = "project" if name == "projects" else "name"
    key = f"_{name}_{st.session_state.get('_opened', 0)}"
    event: Any = st.dataframe(
        frame, key=key, hide_index=True, on_select="rerun", selection_mode="single-cell", alt=alt,
        column_order=[c for c in frame.columns if c != "run_id"], placeholder="",
        column_config={first: column.TextColumn(pinned=True, width=170), **config},
        height=(min(frame.height, _MOST) + 1) * _PIXELS + 3,
    )  # fmt: skip
    for row, clicked in event.selection.cells:
        if row < frame.height:
            # a table of another key: the cell is not still selected for whoever comes back
            st.session_state["_opened"] = st.session_state.get("_opened", 0) + 1
            told = frame.row(row, named=True)
            follow(told, clicked) if follow is _open_project else follow(told)
