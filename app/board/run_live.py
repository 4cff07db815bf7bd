"""The run that a page is about, read anew while it goes on, and answers that are kept until it has changed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import streamlit as st

import mlrun
from mlrun.lookup.liveness import OPEN_STATES

from . import memory, session

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

__all__ = ["TICK", "fingerprint", "goes_on", "kept", "look_again", "opened_run"]

TICK = 0.4  # seconds between two looks at a run that goes on: a new point has to be seen within one
_FRESH = (
    0.1  # seconds for which a look counts as new: the page's own, just before its parts are drawn
)
_RUN = "_run"


def opened_run(name: str) -> RunView:
    """Read a run by what the address says: its id, a part of it, or its name.

    Raises:
        NotFound: there is none, or none that this session may see.
    """
    view = mlrun.get_run(name, store=session.store())
    _keep(view)
    return view


def look_again(run_id: str) -> RunView:
    """Return the page's run as it is now."""
    found = st.session_state.get(_RUN)
    if found is None or found[0].id != run_id:
        return opened_run(run_id)
    view: RunView = found[0]
    if goes_on(view) and time.monotonic() - found[1] > _FRESH:
        view.refresh()
        _keep(view)
    return view


def goes_on(view: RunView) -> bool:
    """Whether anything may still be written into the run."""
    return view.state in OPEN_STATES


def fingerprint(view: RunView) -> tuple[Any, ...]:
    """Return what differs once a point, a state, a parameter or a tag has come.

    Points that come late or twice count too: `count` is of every row logged.
    """
    rows = view.summaries
    record = view.record
    return (
        view.id,
        view.state,
        record["updated_at"],
        record["finished_at"],
        rows.height,
        int(rows["count"].sum() or 0),
        len(view.params),
        len(view.results),
        len(view.tags),
    )


def kept(what: str, question: tuple[Any, ...], ask: Callable[[], Any]) -> Any:
    """Return the answer to a question; it is asked again only when the question is another one.

    Args:
        what: whose answer; one is kept of each.
        question: all that the answer depends on.
        ask: asks.
    """
    return memory.kept(f"run {what}", question, math.inf, ask)


def _keep(view: RunView) -> None:
    st.session_state[_RUN] = (view, time.monotonic())
