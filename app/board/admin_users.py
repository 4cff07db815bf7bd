"""Users of a gateway and their roles, on the whole server and in projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

import mlrun
from mlrun.errors import MlrunError

from . import session
from .admindesk import Desk
from .words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["users_room"]

_NOBODY = "none"
_ROLES = ("viewer", "editor", "admin", _NOBODY)


def users_room() -> None:
    """Draw the users."""
    desk = Desk(session.store())
    found = desk.users()
    if found.is_empty():
        st.caption("No users yet: making a key makes its user.")
        return
    st.dataframe(
        found, hide_index=True, alt="Users and their roles",
        column_config={
            "server": st.column_config.TextColumn("on the server"),
            "roles": st.column_config.TextColumn("in projects"),
            "created_at": st.column_config.DatetimeColumn("known since, UTC", format="YYYY-MM-DD HH:mm"),
        },
    )  # fmt: skip
    user = st.selectbox("User", found["name"].to_list(), key="_whom", width=320)
    if user is None:
        return
    with st.container(horizontal=True):
        with st.popover("Give or take a role", icon=":material/badge:"):
            _role(desk, user)
        disabled = bool(found.filter(found["name"] == user)["disabled"][0])
        with st.popover("Let in again" if disabled else "Refuse", icon=":material/block:"):
            _disable(desk, user, disabled)


def _role(desk: Desk, user: str) -> None:
    projects = mlrun.projects(store=session.store())["name"].to_list()
    project = st.selectbox(
        "Where", ["", *projects], key="_where", format_func=lambda p: p or "the whole server"
    )
    role = st.selectbox("Role", _ROLES, key="_role")
    where = f"in {plain(project)}" if project else "on the whole server"
    if role == _NOBODY:
        st.write(f"**{plain(user)}** has no role {where} any more.")
    else:
        st.write(f"**{plain(user)}** becomes {role} {where}.")
    if _is_me(user):
        st.warning("That is you: you may lock yourself out.")
    if st.button("Do it", key="_role_set", type="primary"):
        _tried(lambda: desk.set_role(user, project or "", None if role == _NOBODY else role))


def _disable(desk: Desk, user: str, disabled: bool) -> None:
    if disabled:
        st.write(f"The keys of **{plain(user)}** are good again.")
    else:
        st.write(f"All keys of **{plain(user)}** are refused; roles stay.")
    if _is_me(user):
        st.warning("That is you: you may lock yourself out.")
    if st.button("Do it", key="_disable", type="primary"):
        _tried(lambda: desk.set_disabled(user, not disabled))


def _tried(change: Callable[[], object]) -> None:
    try:
        change()
    except MlrunError as error:
        st.error(plain(str(error)))
    else:
        st.rerun()


def _is_me(user: str) -> bool:
    """Whether this session speaks for a user; who came with a key is called `key:USER/PREFIX`."""
    me = str(session.who()["user"])
    return user in (me, me.removeprefix("key:").rpartition("/")[0])
