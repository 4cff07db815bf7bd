"""What a session was answered, kept for a while: a rerun must not ask again what has not changed.

There is one place for each kind of answer, and the last one is kept: a page shows one thing at a time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["forget", "kept"]

T = TypeVar("T")
_PLACE = "_kept"


def kept(
    kind: str, question: Hashable, seconds: float | Callable[[T], float], ask: Callable[[], T]
) -> T:
    """Return the answer to a question, asked again if that was another one, or too long ago.

    Args:
        kind: names the place; the answer that was there is replaced.
        question: all that the answer depends on.
        seconds: how old it may be, or what says so of the answer.
        ask: asks.
    """
    places: dict[str, tuple[Any, float, Any]] = st.session_state.setdefault(_PLACE, {})
    now = time.monotonic()
    found = places.get(kind)
    if found is not None and found[0] == question:
        answer: T = found[2]
        if now < found[1] + (seconds(answer) if callable(seconds) else seconds):
            return answer
    answer = ask()
    places[kind] = (question, time.monotonic(), answer)
    return answer


def forget(*kinds: str) -> None:
    """Forget the answers of these kinds; without any, all of them, as after a change."""
    places = st.session_state.get(_PLACE, {})
    for kind in kinds or list(places):
        places.pop(kind, None)
