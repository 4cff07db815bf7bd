"""Whom a browser's session speaks for: the store that it asks, and what it may do there.

On this host alone the dashboard shows the settings' store, as any program of this user would. Beyond it, a store in a
folder is refused, and so is a key from the environment: everyone would be whoever started the dashboard. Each session
signs in with a key of its own, which stays in the memory of that session.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import streamlit as st

from mlrun.asking import answering
from mlrun.config import settings
from mlrun.errors import ConfigError, MlrunError
from mlrun.gatewaystore import GatewayStore
from mlrun.store import open_store

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = [
    "NothingYet",
    "SignInWanted",
    "has_provider",
    "is_remote",
    "may",
    "sign_in",
    "sign_out",
    "store",
    "who",
]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_RANKS = {"viewer": 0, "editor": 1, "admin": 2}
_STORE = "_store"
_WHO = "_who"


class SignInWanted(Exception):
    """This session has not said who it is."""


class NothingYet(Exception):
    """There is no store yet."""


def store() -> Store:
    """Return the store that this session asks.

    Raises:
        NothingYet: nothing has been stored.
        SignInWanted: others can reach the dashboard, and this session has not signed in.
        ConfigError: others can reach it, and the store has no gateway that could tell them apart.
    """
    if _STORE in st.session_state:
        found: Store = st.session_state[_STORE]
        return found
    if _alone():
        found = open_store()
        if not found.exists():
            raise NothingYet
        return found
    if "://" not in settings().dbpath:
        raise ConfigError(
            "beyond this host the dashboard shows a gateway, which knows who may see what: start `mlrun server`, make "
            "keys with `mlrun keys create`, and set MLRUN_DBPATH to its URL"
        )
    if token := _identity():
        return sign_in(token)
    raise SignInWanted


def sign_in(key: str) -> Store:
    """Take a key, or the token of an OpenID provider, for this session.

    Raises:
        MlrunError: the gateway does not know it, or cannot be reached.
    """
    if (
        not key
    ):  # the gateway's client would look for one that whoever started the dashboard has kept
        raise ConfigError("a key is wanted")
    opened = GatewayStore(settings().dbpath, key=key)
    try:
        st.session_state[_WHO] = opened.gateway.whoami()
    except MlrunError:
        opened.close()
        raise
    st.session_state[_STORE] = opened
    return opened


def sign_out() -> None:
    """Forget who this session is."""
    if _STORE in st.session_state:
        st.session_state[_STORE].close()
    for name in list(st.session_state):
        del st.session_state[name]
    if _identity():
        st.logout()


def has_provider() -> bool:
    """Whether an OpenID provider is set up, in Streamlit's `secrets.toml`."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def _identity() -> str:
    """Return what the OpenID provider says of who came; empty if nobody has signed in there."""
    if not has_provider() or not st.user.is_logged_in:
        return ""
    return str(st.user.tokens["id"])


def who() -> dict[str, Any]:
    """Return who this session is: `user`, and `roles` by project ("" for all); of a store in a folder, its owner."""
    if _WHO not in st.session_state:
        asked = store()
        known = asked.gateway.whoami() if isinstance(asked, GatewayStore) else None
        st.session_state[_WHO] = known or {"user": "", "roles": {"": "admin"}}
    found: dict[str, Any] = st.session_state[_WHO]
    return found


def may(role: str, project: str = "") -> bool:
    """Whether this session is at least an `editor`, or an `admin`, of a project ("" for all of them)."""
    roles = who()["roles"]
    rank = max(_RANKS.get(roles.get(name, ""), -1) for name in ("", project))
    return rank >= _RANKS[role]


def is_remote() -> bool:
    """Whether the store is asked through a gateway."""
    return answering(store()) is not None


def _alone() -> bool:
    """Whether only programs of this host can reach the dashboard."""
    address = st.get_option("server.address") or ""
    return address in _LOOPBACK and not os.environ.get("MLRUN_UI_SIGN_IN")
