"""What can be done with the runs that are picked: open, compare, tag, archive, restore, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

import mlrun
from mlrun.change import set_times
from mlrun.errors import MlrunError
from mlrun.ids import now_us
from mlrun.lookup.liveness import OPEN_STATES
from mlrun.view import RunView

from . import address, session
from .memory import forget
from .states import trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from mlrun.store import Store

__all__ = ["delete", "picked_bar", "tag"]

_SAID = "_runs_done"


def picked_bar(rows: pl.DataFrame) -> None:
    """Draw what can be done with these rows of the table, or how rows are picked.

    Args:
        rows: `run_id, project, state, …` of the runs that are picked.
    """
    if said := st.session_state.pop(_SAID, ""):
        st.toast(said)
    if rows.is_empty():
        st.caption("Click a name to open a run; tick rows to tag, archive, delete or compare them.")
        return
    ids = rows["run_id"].to_list()
    project = address.text("project")
    st.markdown(f"**{len(ids)}** picked")
    if len(ids) == 1 and st.button("Open", key="_open", type="primary"):
        address.go("run", id=ids[0], project=project)
    if st.button("Compare", key="_compare", disabled=len(ids) < 2):
        address.go("compare", id=ids, project=project)
    if all(session.may("editor", p) for p in rows["project"].unique().to_list()):
        _changes(rows, ids)


def _changes(rows: pl.DataFrame, ids: list[str]) -> None:
    store = session.store()
    with st.popover("Tag", icon=":material/sell:"):
        known = (
            rows["tags"].explode().drop_nulls().unique().sort().to_list()
            if "tags" in rows.columns
            else []
        )
        tags = st.multiselect(
            "Tags", known, key="_tags", accept_new_options=True, placeholder="type one"
        )
        with st.container(horizontal=True):
            if st.button("Add", key="_tag_add", type="primary", disabled=not tags):
                _do(f"Tagged {_runs(ids)}", lambda: tag(store, ids, add=tags))
            if st.button("Remove", key="_tag_remove", disabled=not tags):
                _do(f"Took tags off {_runs(ids)}", lambda: tag(store, ids, remove=tags))
    if st.button("Archive", key="_archive"):
        _do(f"Archived {_runs(ids)}", lambda: set_times(store, ids, archived_at=now_us()))
    if st.button("Restore", key="_restore", help="Take runs out of the archive"):
        _do(f"Restored {_runs(ids)}", lambda: set_times(store, ids, archived_at=None))
    with st.popover("Delete", icon=":material/delete:"):
        going = sum(state in OPEN_STATES for state in rows["state"])
        st.write(f"Delete {_runs(ids)}? They can be restored for 30 days.")
        if going:
            st.caption(f"{_runs(ids[:going])} not ended, and stay.")
        if st.button(f"Delete {_runs(ids)}", key="_delete", type="primary"):
            _do("", lambda: delete(store, ids))


def tag(store: Store, ids: list[str], add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
    """Add tags to runs, or take them off."""
    for run_id in ids:
        RunView(store, run_id, later=True).update(add_tags=add, remove_tags=remove)


def delete(store: Store, ids: list[str]) -> int:
    """Delete runs, softly; those that have not ended stay. Returns how many."""
    quoted = ", ".join("'" + r.replace("'", "''") + "'" for r in ids)
    return mlrun.delete_runs(f"run_id in ({quoted})", store=store)


def _do(said: str, change: Callable[[], object]) -> None:
    try:
        found = change()
    except MlrunError as error:
        trouble(error)
        return
    forget()
    st.session_state[_SAID] = said or f"Deleted {found} run{'' if found == 1 else 's'}"
    st.rerun()


def _runs(ids: list[str]) -> str:
    return f"{len(ids)} run{'' if len(ids) == 1 else 's'}"
