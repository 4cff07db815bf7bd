"""Whether the store is sound: what `mlrun doctor` finds, problems first, and how much of the disk it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import streamlit as st

from mlrun.care.doctor import examine

from . import session
from .admindesk import Desk
from .storesize import sizes

if TYPE_CHECKING:
    from mlrun.contracts import Finding

__all__ = ["health_room"]

_FOUND, _SIZES = "_found", "_sizes"
_SAID = {
    "lost": "Something is lost.",
    "repairable": "`mlrun doctor --repair` mends what was found.",
    "repaired": "All is mended.",
    "note": "Nothing is lost; there are notes.",
}


def health_room() -> None:
    """Draw the health of the store."""
    if session.is_remote():
        st.dataframe(
            Desk(session.store()).info(), hide_index=True, alt="What the gateway tells of itself"
        )
        st.caption("Files are examined where they lie; on the gateway's host, with its settings:")
        st.code("mlrun doctor", language="bash")
        return
    with st.container(horizontal=True):
        quick = st.button("Examine", key="_quick", type="primary", icon=":material/stethoscope:")
        whole = st.button("Examine every byte", key="_whole")
        measure = st.button("Measure sizes", key="_measure")
    if quick or whole:
        _examine(quick=quick)
    if measure:
        with st.spinner("Measuring…"):
            st.session_state[_SIZES] = sizes(session.store().folder)
    if _FOUND in st.session_state:
        _report(st.session_state[_FOUND])
    else:
        st.caption("Examining changes nothing, and is safe while others write.")
    if _SIZES in st.session_state:
        st.subheader("Sizes", anchor=False)
        st.dataframe(
            st.session_state[_SIZES], hide_index=True, alt="Parts of the store and their sizes",
            column_config={"bytes": st.column_config.NumberColumn(format="bytes")},
        )  # fmt: skip


def _examine(*, quick: bool) -> None:
    with st.status("Examining…") as status:
        st.session_state[_FOUND] = examine(
            session.store(), quick=quick, progress=lambda said: status.update(label=said)
        )
        status.update(label="Examined", state="complete")


def _report(found: list[Finding]) -> None:
    st.subheader("Findings", anchor=False)
    if not found:
        st.success("The store is clean.")
        return
    worst = found[0].severity
    said = _SAID[worst]
    if worst == "lost":
        st.error(said)
    else:
        st.info(said)
    names = ("severity", "where", "what")
    rows = {name: [getattr(f, name) for f in found] for name in names}
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))
    st.dataframe(frame, hide_index=True, alt="Findings, the worst first")
