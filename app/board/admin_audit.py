"""The audit log: who changed what, a page at a time."""

from __future__ import annotations

import streamlit as st

from . import address, session
from .admindesk import PAGE, audit_page

__all__ = ["audit_room"]


def audit_room() -> None:
    """Draw the audit log."""
    with st.container(horizontal=True):
        actor = st.text_input("Who", key="actor", bind="query-params", width=180)
        action = st.text_input(
            "Action", key="action", bind="query-params", placeholder="such as key.", width=180
        )
        target = st.text_input("What", key="target", bind="query-params", width=240)
        page = st.number_input(
            "Page", min_value=1, value=1, step=1, key="page", bind="query-params", width=120
        )
    found = audit_page(
        session.store(), int(page) - 1, actor=actor, action=action, target=target,
        project=address.text("project"),
    )  # fmt: skip
    if found.is_empty():
        st.caption("Nothing was changed through a gateway that fits.")
        return
    st.dataframe(
        found.head(PAGE), hide_index=True, alt="Changes, the newest first",
        column_config={
            "time": st.column_config.DatetimeColumn("time, UTC", format="YYYY-MM-DD HH:mm:ss"),
        },
    )  # fmt: skip
    more = "; the next page has older ones" if found.height > PAGE else ""
    st.caption(f"{min(found.height, PAGE)} changes, the newest first{more}.")
