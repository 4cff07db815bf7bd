"""Run: one run whole, live while it goes on."""

from __future__ import annotations

from importlib import import_module

import streamlit as st

from mlrun.errors import NotFound

from . import address, states
from .run_header import facts, header
from .run_live import TICK, goes_on, look_again, opened_run

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
_FIRST = next(iter(ROOMS))
_OPEN = "_room_of"  # the run whose room was chosen
_LEFT = "_room_left"  # the room that the address named before a click, until it names the new one


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
    place = header(view)
    room, drawn = _room(view.id), view.state

    def live() -> None:
        """What keeps up with the run: one fragment, so that one look and one answer serve all of it."""
        now = look_again(view.id)
        if now.state != drawn:
            st.rerun()  # what may be done has changed; the last state ends the ticking, too
        with place:
            facts(now)
        import_module(f".{ROOMS[room][1]}", __package__).draw(now)

    st.fragment(states.guarded(live), run_every=TICK if goes_on(view) else None)()


def _room(run_id: str) -> str:
    """Let a room be chosen; the address holds its name, and what stands on the button is for people.

    The browser sends its address with whatever it asks for, and for a moment after a click that is still the one from
    before: until it has sent the new one, what the address named at the click is not taken for a wish to go back.
    """
    named = address.text("room")
    held: str = st.session_state.get("_room", _FIRST)
    if st.session_state.get(_OPEN) != run_id:
        st.session_state[_OPEN], st.session_state[_LEFT] = run_id, None
    left = st.session_state[_LEFT]
    if left == named:
        room = held
        address.put(room=room)
    else:
        room = named if named in ROOMS else _FIRST
        st.session_state[_LEFT] = None
    if held != room:
        # only then: what is set outlives a run that a click breaks off, and would be taken for what was clicked
        st.session_state["_room"] = room
    st.segmented_control(
        "Room", list(ROOMS), key="_room", required=True, label_visibility="collapsed",
        format_func=lambda name: ROOMS[name][0], on_change=_enter,
    )  # fmt: skip
    return room


def _enter() -> None:
    # the address as the browser sent it; `_room` writes the new one
    st.session_state[_LEFT] = address.text("room")


def _to_runs() -> None:
    if st.button("Runs", icon=":material/table_rows:"):
        address.go("runs")
