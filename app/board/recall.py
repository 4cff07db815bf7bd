"""What this session has asked last: a rerun of the script does not ask again what has not changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["recall"]

T = TypeVar("T")


def recall(
    name: str, question: Hashable, ask: Callable[[], T], fresh: Callable[[T], float] | None = None
) -> T:
    """Return the answer to a question: the one that is known, if it was the last of this name and is still fresh.

    Args:
        name: of the place; each holds one answer.
        question: all that the answer depends on.
        ask: asks it.
        fresh: how many seconds an answer stays true; default as long as the session.
    """
    slot = f"_recall_{name}"
    known = st.session_state.get(slot)
    if known is not None and known[0] == question and time.monotonic() < known[1]:
        answer: T = known[2]
        return answer
    answer = ask()
    until = time.monotonic() + (fresh(answer) if fresh else float("inf"))
    st.session_state[slot] = (question, until, answer)
    return answer
