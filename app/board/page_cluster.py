"""Cluster: what runs and waits, as mlrun knows it and as Ray does; and stopping it."""

from __future__ import annotations

import streamlit as st

from . import address
from .cluster_ray import ray_room
from .cluster_runs import runs_room
from .states import guarded

__all__ = ["draw"]

_EVERY = 3.0  # seconds between two looks


def draw() -> None:
    """Draw the page."""
    st.title("Cluster", anchor=False)
    project = address.text("project")
    st.fragment(guarded(lambda: runs_room(project)), run_every=_EVERY)()
    st.fragment(guarded(ray_room), run_every=_EVERY)()
