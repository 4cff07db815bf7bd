"""Admin: keys, users and roles of a gateway, what was changed, and whether the store is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from . import session
from .admin_audit import audit_room
from .admin_health import health_room
from .admin_keys import keys_room
from .admin_policies import policies_room
from .admin_users import users_room
from .states import empty

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["draw"]


def draw() -> None:
    """Draw the page."""
    st.title("Admin", anchor=False)
    if not session.may("admin"):
        empty(
            "This is for admins",
            "Whoever is admin of the whole server gives roles; ask one of them.",
        )
        return
    rooms: dict[str, Callable[[], None]] = {
        "Health": health_room,
        "Retention": policies_room,
        "Audit": audit_room,
    }
    if session.is_remote():
        rooms = {"Keys": keys_room, "Users": users_room, **rooms}
    else:
        st.caption(
            "This store is yours alone. Behind `mlrun server` it has users, with keys and roles."
        )
    if st.session_state.get("see") not in (None, *rooms):
        del st.session_state["see"]
    room = st.segmented_control(
        "Room", list(rooms), default=next(iter(rooms)), key="see", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    rooms[str(room)]()
