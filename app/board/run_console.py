"""What a run printed: its last lines, followed while it goes on, and found by words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

import mlrun

from . import session
from .run_lines import STREAMS, as_text, cut, grown, held
from .run_live import goes_on
from .states import empty

if TYPE_CHECKING:
    import polars as pl

    from mlrun.view import RunView

__all__ = ["draw"]

_FIRST = 500  # lines
_MORE = 2_000
_TAIL = 5_000  # lines that are read at first
_COUNT = "_lines"
_KNOWN = "_known_lines"


def draw(view: RunView) -> None:
    """Draw the room."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Search", key="find", bind="query-params", icon=":material/search:", width=300, live="0.3s",
            placeholder="text as it stands",
        )  # fmt: skip
        stream = st.segmented_control(
            "Stream", STREAMS, key="stream", bind="query-params", default="all", required=True
        )
        times = st.toggle("Times, UTC", key="times", bind="query-params")
    wanted = st.session_state.get(f"{_COUNT}_{view.id}", _FIRST)
    lines = _lines(view, bool(words) or stream != "all" or wanted > _FIRST)
    if lines.is_empty():
        _nothing(view)
        return
    found = held(lines, words or "", stream or "all")
    if found.is_empty():
        empty("No line holds that", f"The run printed {lines.height:,} lines.")
        return
    shown = cut(found, wanted)
    _earlier(view.id, found.height, shown.height)
    _text(as_text(shown, times=times))
    more = (
        "+" if lines.height == _TAIL else ""
    )  # there may be earlier ones, which nobody has asked for
    st.caption(
        _told(f"{lines.height:,}{more}", found.height == lines.height, found.height, shown.height)
    )


def _lines(view: RunView, everything: bool) -> pl.DataFrame:
    """Return the run's lines: all of them where words are looked for, else so many of the last as are shown.

    While the run goes on, only what came since is asked for, and laid behind what is known.
    """
    known: tuple[Any, pl.DataFrame] | None = st.session_state.get(_KNOWN)
    question = (view.id, goes_on(view), everything)
    if known is not None and known[0] == question:
        if not goes_on(view):
            return known[1]
        lines = grown(
            known[1], lambda since: mlrun.logs(view.id, start=since, store=session.store())
        )
    else:
        lines = mlrun.logs(view.id, tail=None if everything else _TAIL, store=session.store())
    st.session_state[_KNOWN] = (question, lines)
    return lines


def _nothing(view: RunView) -> None:
    if goes_on(view):
        empty("Nothing printed yet", "Lines appear here as the run prints them.")
    else:
        empty("Nothing was printed", "Or the console was off: mlrun.init(console=False).")


def _earlier(run_id: str, found: int, shown: int) -> None:
    if found > shown:
        st.button(
            f"Show {min(_MORE, found - shown):,} earlier lines", key="_more", icon=":material/expand_less:",
            on_click=lambda: st.session_state.update({f"{_COUNT}_{run_id}": shown + _MORE}),
        )  # fmt: skip


def _text(text: str) -> None:
    with st.container(height=620, autoscroll=True, border=True, key="_console"):
        st.code(text, language=None, wrap_lines=True)


def _told(printed: str, every: bool, found: int, shown: int) -> str:
    if every:
        return f"{shown:,} of {printed} lines" if f"{shown:,}" != printed else f"{printed} lines"
    said = f"{shown:,} of {found:,} lines" if shown < found else f"{found:,} lines"
    return f"{said} that hold it; the run printed {printed}"
