"""Queries that people keep under a name: of the chosen project, or of all of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import streamlit as st

from mlrun.savedviews import delete_view, save_view, saved_views

from . import address, session
from .words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["saved_queries"]

_KIND = "sql"


def saved_queries(query: str, write: Callable[[str], None]) -> None:
    """Draw what was kept, and where the query can be kept.

    Args:
        query: what is in the editor.
        write: puts a query there; called before the page is drawn.
    """
    project = address.text("project")
    found = saved_views(session.store(), project, _KIND)
    kept = {name: _query(spec) for name, spec in found.select("name", "spec").iter_rows()}
    may_edit = session.may("editor", project)
    if not kept and not may_edit:
        return
    with st.popover(f"Saved queries ({len(kept)})", icon=":material/bookmark:"):
        if kept:
            _open(kept, write, project, may_edit=may_edit)
        else:
            st.caption(f"None yet {f'in {plain(project)}' if project else 'for all projects'}.")
        if may_edit:
            _keep(query, project)


def _open(
    kept: dict[str, str], write: Callable[[str], None], project: str, *, may_edit: bool
) -> None:
    chosen = st.selectbox("Query", list(kept), key="_saved")
    st.code(kept[chosen], language="sql")
    with st.container(horizontal=True):
        st.button("Open", key="_saved_open", type="primary", on_click=write, args=(kept[chosen],))
        if may_edit and st.button("Delete", key="_saved_delete"):
            delete_view(session.store(), project, _KIND, chosen)
            st.rerun()


def _keep(query: str, project: str) -> None:
    with st.form("_keep", border=False, clear_on_submit=True):
        name = st.text_input("Name", key="_saved_name")
        asked = st.form_submit_button("Save the query in the editor")
    if not asked:
        return
    if not query.strip():
        st.error("The editor is empty.")
    elif not name.strip():
        st.error("A name is needed.")
    else:
        save_view(session.store(), project, _KIND, name, {"q": query})
        st.rerun()


def _query(spec: str) -> str:
    try:
        found = json.loads(spec)
    except ValueError:
        return ""
    return str(found.get("q", "")) if isinstance(found, dict) else ""
