"""What a run printed: its last lines, followed while it goes on, and found by words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

import mlrun

from . import session
from .run_lines import STREAMS, as_text, cut, held
from .run_live import goes_on, kept
from .states import empty

if TYPE_CHECKING:
    import polars as pl

    from mlrun.view import RunView

__all__ = ["draw"]

_FIRST = 500  # lines
_MORE = 2_000
_COUNT = "_lines"


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
    lines = _lines(view)
    if lines.is_empty():
        _nothing(view)
        return
    found = held(lines, words or "", stream or "all")
    if found.is_empty():
        empty("No line holds that", f"The run printed {lines.height:,} lines.")
        return
    shown = cut(found, st.session_state.get(f"{_COUNT}_{view.id}", _FIRST))
    _earlier(view.id, found.height, shown.height)
    _text(as_text(shown, times=times))
    st.caption(_told(lines.height, found.height, shown.height))


def _lines(view: RunView) -> pl.DataFrame:
    if goes_on(view):
        return mlrun.logs(view.id, store=session.store())
    question = (view.id, view.state, view.record["updated_at"])
    frame: pl.DataFrame = kept(
        "lines", question, lambda: mlrun.logs(view.id, store=session.store())
    )
    return frame


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


def _told(every: int, found: int, shown: int) -> str:
    said = f"{shown:,} of {found:,} lines" if shown < found else f"{found:,} lines"
    return said if found == every else f"{said} that hold it; the run printed {every:,}"
