"""Keys of a gateway: who has which, making one, which is shown once, and revoking one."""

from __future__ import annotations

import polars as pl
import streamlit as st

import mlrun
from mlrun.errors import MlrunError

from . import session
from .admindesk import Desk
from .words import plain

__all__ = ["keys_room"]

_SCOPES = ("read", "write", "admin")
_TIME = "YYYY-MM-DD HH:mm"


def keys_room() -> None:
    """Draw the keys."""
    desk = Desk(session.store())
    _make(desk)
    found = desk.keys()
    gone = st.toggle("Revoked ones, too", key="revoked", bind="query-params")
    if not gone:
        found = found.filter(pl.col("revoked_at").is_null())
    if found.is_empty():
        st.caption("No keys yet.")
        return
    picked = st.dataframe(
        found, hide_index=True, on_select="rerun", selection_mode="single-row", key="_keys", alt="Keys",
        column_config={
            name: st.column_config.DatetimeColumn(f"{name.removesuffix('_at')}, UTC", format=_TIME)
            for name in ("created_at", "expires_at", "revoked_at")
        },
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    if rows and rows[0] < found.height:
        _revoke(desk, found.row(rows[0], named=True))


def _make(desk: Desk) -> None:
    projects = mlrun.projects(store=session.store())["name"].to_list()
    with st.expander("Make a key", icon=":material/key:"), st.form("_make", border=False):
        with st.container(horizontal=True):
            user = st.text_input("User", key="_user", width=220)
            name = st.text_input("What it is for", key="_for", width=260)
            days = st.number_input(
                "Days until it expires; 0 for never", 0, 3650, 90, key="_days", width=220
            )
        with st.container(horizontal=True):
            scopes = st.multiselect(
                "Only for", _SCOPES, key="_scopes", placeholder="all that the user may", width=260
            )
            project = st.selectbox(
                "Only in", ["", *projects], key="_only", width=260,
                format_func=lambda p: p or "all projects",
            )  # fmt: skip
        asked = st.form_submit_button("Make it", type="primary")
    if not asked:
        return
    if not user.strip():
        st.error("A key belongs to a user: say who.")
        return
    try:
        key = desk.make(user.strip(), name.strip(), scopes, project or "", float(days))
    except MlrunError as error:
        st.error(plain(str(error)))
        return
    # drawn, and kept nowhere: the next rerun of the script does not know it
    with st.container(border=True):
        st.write(f"The key of **{plain(user.strip())}**. It is shown this once; copy it now.")
        st.code(key, language=None)


def _revoke(desk: Desk, row: dict[str, object]) -> None:
    prefix = str(row["prefix"])
    if row["revoked_at"] is not None:
        st.caption("This key is revoked.")
        return
    with st.popover(f"Revoke {plain(prefix)}", icon=":material/key_off:"):
        st.write(
            f"The key of **{plain(row['user'])}** is refused from then on. It cannot be undone."
        )
        if st.button("Revoke it now", key=f"_revoke-{prefix}", type="primary"):
            try:
                desk.revoke(prefix)
            except MlrunError as error:
                st.error(plain(str(error)))
            else:
                st.rerun()
