"""Home: the projects, what runs now, and what failed last."""

from __future__ import annotations

import streamlit as st

import mlrun

from . import session
from .states import no_runs

__all__ = ["draw"]


def draw() -> None:
    """Draw the page."""
    st.title("Home", anchor=False)
    found = mlrun.projects(store=session.store())
    if found.is_empty():
        no_runs()
        return
    st.dataframe(found, hide_index=True)
