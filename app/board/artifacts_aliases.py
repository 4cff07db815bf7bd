"""Promotion: the names that point at a version, and moving them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.content.naming import LATEST
from mlrun.errors import MlrunError

from .memory import forget
from .words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from mlrun.content.dataitem import DataItem

__all__ = ["aliases_room"]

_USUAL = ("production", "staging", "champion", "challenger")


def aliases_room(item: DataItem, versions: pl.DataFrame) -> None:
    """Let an editor point names at this version, or take them away; each change is confirmed by its own words.

    Args:
        item: the version.
        versions: all of them, with their `aliases`.
    """
    known = {
        name: int(version)
        for version, names in versions.select("version", "aliases").iter_rows()
        for name in names
        if name != LATEST
    }
    with st.popover("Promote", icon=":material/flag:"):
        name = st.selectbox(
            "Alias", list(dict.fromkeys((*_USUAL, *sorted(known)))), key="_alias", accept_new_options=True,
            index=None, placeholder="choose, or write another",
        )  # fmt: skip
        if name:
            _set(item, name, known.get(name))
        own = [alias for alias, version in known.items() if version == item.version]
        if own:
            st.divider()
            _remove(item, own)


def _set(item: DataItem, name: str, holder: int | None) -> None:
    told, to = f"**{plain(name)}**", f"v{item.version}"
    if holder == item.version:
        st.caption(f"{told} points at {to} already.")
        return
    st.write(
        f"{told} will point at {to}." if holder is None else f"{told} moves from v{holder} to {to}."
    )
    st.caption("Whoever loads the artifact by this name gets this version from then on.")
    if st.button("Set it" if holder is None else "Move it", key="_alias_set", type="primary"):
        _changed(lambda: item.set_alias(name))


def _remove(item: DataItem, own: list[str]) -> None:
    gone = st.selectbox("Take away", own, key="_alias_gone", index=None, placeholder="an alias")
    if gone and st.button(f"Take {plain(gone)} away from v{item.version}", key="_alias_remove"):
        _changed(lambda: item.remove_alias(gone))


def _changed(change: Callable[[], None]) -> None:
    try:
        change()
    except MlrunError as error:
        st.error(plain(str(error)))
        return
    forget()
    st.rerun()
