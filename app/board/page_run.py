"""Run: one run whole, live while it goes on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import streamlit as st

from mlrun.errors import NotFound

from . import address, states
from .run_header import header
from .run_live import TICK, goes_on, look_again, opened_run

if TYPE_CHECKING:
    from mlrun.view import RunView

__all__ = ["ROOMS", "draw"]

# name in the address, title, and the module that draws it
ROOMS = {
    "overview": ("Overview", "run_overview"),
    "charts": ("Charts", "run_charts"),
    "system": ("System", "run_system"),
    "console": ("Console", "run_console"),
    "artifacts": ("Artifacts", "run_artifacts"),
    "children": ("Iterations and children", "run_children"),
    "function": ("Function", "run_function"),
}
_FOLLOWED = {"overview", "charts", "system", "console", "artifacts", "children"}


def draw() -> None:
    """Draw the page."""
    name = address.text("id")
    if not name:
        st.title("Run", anchor=False)
        states.empty(
            "No run is chosen", "The address names none; choose one from the list of runs."
        )
        _to_runs()
        return
    try:
        view = opened_run(name)
    except NotFound as error:
        st.title("Run", anchor=False)
        states.trouble(error)
        st.write(
            "It was freed after it had been deleted, belongs to a project that you may not see, or never was."
        )
        _to_runs()
        return
    header(view)
    room = _room()
    follow = TICK if goes_on(view) and room in _FOLLOWED else None
    st.fragment(states.guarded(lambda: _draw_room(view.id, room)), run_every=follow)()


def _room() -> str:
    """Let a room be chosen; the address holds its name, and what stands on the button is for people."""
    named = address.text("room")
    st.session_state["_room"] = room = named if named in ROOMS else "overview"
    st.segmented_control(
        "Room", list(ROOMS), key="_room", required=True, label_visibility="collapsed",
        format_func=lambda name: ROOMS[name][0], on_change=_enter,
    )  # fmt: skip
    return room


def _enter() -> None:
    address.put(room=st.session_state["_room"])


def _draw_room(run_id: str, room: str) -> None:
    view: RunView = look_again(run_id)
    import_module(f".{ROOMS[room][1]}", __package__).draw(view)


def _to_runs() -> None:
    if st.button("Runs", icon=":material/table_rows:"):
        address.go("runs")
