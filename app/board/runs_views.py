"""Views that were kept of the runs table: filter, states, order, columns and all, under a name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from mlrun.errors import MlrunError
from mlrun.savedviews import delete_view, save_view, saved_views

from . import address, session
from .memory import forget, kept
from .states import trouble
from .words import plain

if TYPE_CHECKING:
    import polars as pl

__all__ = ["views"]

_KIND = "runs"
_PLACE = "runs views"
# what a view holds, and what each is where it holds none
_PARTS: dict[str, Any] = {
    "where": "", "state": [], "cols": [], "pin": [], "curve": "automatic", "children": False,
    "archived": False, "size": 50,
}  # fmt: skip


def views(project: str) -> None:
    """Draw them: to be opened by anyone, kept and deleted by editors."""
    store = session.store()
    found = kept(_PLACE, project, 30.0, lambda: saved_views(store, project, _KIND))
    editor = session.may("editor", project)
    with st.popover("Views", icon=":material/bookmark:"):
        if found.is_empty():
            st.caption(
                "No view is kept of this project yet." if project else "No view is kept yet."
            )
        else:
            _choose(found, project, editor)
        if editor:
            name = st.text_input("Keep this view as", key="_view_name")
            if st.button("Keep", key="_keep", disabled=not (name or "").strip()):
                user = session.who()["user"]
                _do(lambda: save_view(store, project, _KIND, name or "", _now(), user=user))


def _choose(found: pl.DataFrame, project: str, editor: bool) -> None:
    name = st.selectbox("View", found["name"].to_list(), key="_view")
    row = next((r for r in found.iter_rows(named=True) if r["name"] == name), None)
    with st.container(horizontal=True):
        st.button(
            "Open",
            key="_view_open",
            type="primary",
            on_click=_open,
            args=(row["spec"] if row else "",),
        )
        if editor and st.button("Delete", key="_view_delete"):
            _do(lambda: delete_view(session.store(), project, _KIND, name or ""))
    if row and row["user"]:
        st.caption(f"kept by {plain(row['user'])}")


def _now() -> dict[str, Any]:
    """Return what the page shows, without what is as it always is."""
    told = {name: st.session_state.get(name, usual) for name, usual in _PARTS.items()}
    told["order"] = address.text("order")
    return {k: v for k, v in told.items() if v and v != _PARTS.get(k)}


def _open(spec: str) -> None:
    """Show what a view holds. In a callback."""
    try:
        found = json.loads(spec)
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}
    for name, usual in _PARTS.items():
        value = found.get(name, usual)
        st.session_state[name] = value if isinstance(value, type(usual)) else usual
    order = found.get("order")
    address.put(order=order if isinstance(order, str) else None)
    st.session_state["page"] = 1


def _do(change: Any) -> None:
    try:
        change()
    except MlrunError as error:
        trouble(error)
        return
    forget(_PLACE)
    st.rerun()
