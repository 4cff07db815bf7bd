"""The table of a comparison: parameters, results and last values, those first that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from .compare_diff import diff_table, differing

if TYPE_CHECKING:
    from .compare_runs import Compared

__all__ = ["table"]

_SCOPES = {"Parameters": "params", "Results": "results", "Metrics": "metrics"}


def table(found: Compared) -> None:
    """Draw the room."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.segmented_control(
            "What", list(_SCOPES), selection_mode="multi", default=list(_SCOPES), key="of",
            bind="query-params",
        )  # fmt: skip
        everything = st.toggle("Also what is the same", key="all", bind="query-params")
    columns = found.columns(*(_SCOPES[name] for name in _SCOPES if name in chosen))
    shown = columns if everything else differing(found.frame, columns)
    if not shown:
        st.info("There is nothing in which these runs differ." if columns else "Nothing is stored.")
        return
    st.dataframe(
        diff_table(found.frame, found.names, shown), hide_index=True, key="_diff",
        alt=f"{len(shown)} values of {len(found.names)} runs",
    )  # fmt: skip
    rest = len(columns) - len(shown)
    if rest:
        st.caption(f"{rest} more are the same in all runs.")
