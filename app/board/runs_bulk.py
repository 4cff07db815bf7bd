"""What can be done with the runs that are picked: open, compare, tag, archive, restore, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
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

    from mlrun.store import Store

__all__ = ["delete", "picked_bar", "tag"]

_SAID = "_runs_done"


def picked_bar(rows: pl.DataFrame) -> None:
    """Draw what can be done with these rows of the table.

    Args:
        rows: `run_id, project, state, …` of the runs that are picked.
    """
    if said := st.session_state.pop(_SAID, ""):
        st.toast(said)
    ids = rows["run_id"].to_list()
    st.caption(f"{len(ids)} picked" if ids else "Tick rows, or click a name to open the run")
    if st.button("Open", key="_open", disabled=len(ids) != 1):
        address.go("run", id=ids[0])
    if st.button("Compare", key="_compare", disabled=len(ids) < 2):
        address.go("compare", id=ids)
    projects = rows["project"].unique().to_list() or [address.text("project")]
    if all(session.may("editor", project) for project in projects):
        _changes(rows, ids)


def _changes(rows: pl.DataFrame, ids: list[str]) -> None:
    store, many, none = session.store(), _runs(ids), not ids
    with st.popover("Tag", icon=":material/sell:", disabled=none):
        _tagging(rows, ids)
    if st.button("Archive", key="_archive", disabled=none):
        _do(f"Archived {many}", lambda: set_times(store, ids, archived_at=now_us()))
    if st.button("Restore", key="_restore", disabled=none, help="Take runs out of the archive"):
        _do(f"Restored {many}", lambda: set_times(store, ids, archived_at=None))
    with st.popover("Delete", icon=":material/delete:", disabled=none):
        st.write(f"Delete {many}? They can be restored for 30 days.")
        if going := sum(state in OPEN_STATES for state in rows["state"]):
            st.caption(
                f"{going} of them {'has' if going == 1 else 'have'} not ended, and will stay."
            )
        if st.button(f"Delete {many}", key="_delete", type="primary", disabled=none):
            _do("", lambda: delete(store, ids))


def _tagging(rows: pl.DataFrame, ids: list[str]) -> None:
    store = session.store()
    there = (
        rows["tags"].explode().drop_nulls()
        if "tags" in rows.columns
        else pl.Series([], dtype=pl.String)
    )
    tags = st.multiselect(
        "Tags", there.unique().sort().to_list(), key="_tags", accept_new_options=True,
        placeholder="pick or type",
    )  # fmt: skip
    with st.container(horizontal=True):
        if st.button("Add", key="_tag_add", type="primary", disabled=not tags):
            _do(f"Tagged {_runs(ids)}", lambda: tag(store, ids, add=tags))
        if st.button("Remove", key="_tag_remove", disabled=not tags):
            _do(f"Took tags off {_runs(ids)}", lambda: tag(store, ids, remove=tags))


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
