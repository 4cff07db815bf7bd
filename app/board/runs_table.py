"""The runs table: a page of rows that moves while something on it runs, and what is picked from it."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import streamlit as st

from . import address, session
from .memory import forget, kept
from .runs_bulk import picked_bar
from .runs_curves import Curves
from .runs_frame import CURVE, laid_over, open_runs, shown
from .states import guarded
from .words import plain

if TYPE_CHECKING:
    from .runs_controls import Look
    from .runs_question import Question

__all__ = ["counted", "said_of", "table"]

_PAGE, _LIVE, _COUNT = "runs page", "runs live", "runs count"
_IDLE, _MOVING, _SOON = 5.0, 1.0, 0.3  # seconds between two looks
_ROW, _NAME = 35, 170  # pixels


def table(question: Question, look: Look, *, slow: bool) -> None:
    """Draw the page of rows; it looks again by itself, each second while something on it runs.

    Args:
        question: which page.
        look: how it is shown.
        slow: whether curves may take long where nobody knows yet: then they come after the rows.
    """
    rows = _page(question)
    curve = Curves(look.metric, slow=slow)
    pace = _pace(rows, curve)
    ids = rows["run_id"].to_list()

    def draw() -> None:
        _draw(question, look, curve, pace, ids)

    st.fragment(run_every=pace)(guarded(draw))()


def _pace(rows: pl.DataFrame, curve: Curves) -> float:
    if curve.late(rows):
        return _SOON
    return _MOVING if open_runs(rows) else _IDLE


def _page(question: Question) -> pl.DataFrame:
    return kept(_PAGE, question, _IDLE, lambda: question.rows(session.store()))


def _now(question: Question) -> pl.DataFrame:
    """Return the page as it is now: only runs that have not ended are asked for again."""
    rows = _page(question)
    going = open_runs(rows)
    if not going:
        return rows
    asked = (question, tuple(going))
    fresh = kept(_LIVE, asked, _MOVING * 0.9, lambda: question.again(session.store(), going))
    now = laid_over(rows, fresh)
    if open_runs(now) == going:
        return now
    forget(_PAGE)  # some have ended: their results are there now
    return _page(question)


def _draw(question: Question, look: Look, curve: Curves, pace: float, ids: list[str]) -> None:
    rows = _now(question)
    if rows["run_id"].to_list() != ids:
        forget(_COUNT)
        st.rerun()
    values = curve.of(rows) if look.metric else None
    if _pace(rows, curve) != pace:
        st.rerun()
    bar = st.container(horizontal=True, vertical_alignment="center")
    titles = _titles(question)
    frame = shown(rows, titles, datetime.now(UTC), values)
    place = zlib.crc32(repr((rows["run_id"].to_list(), titles)).encode())
    event: Any = st.dataframe(
        frame, key=f"_table_{place}_{st.session_state.get('_opened', 0)}", hide_index=True,
        column_config=_config(frame, look), on_select="rerun", placeholder="",
        selection_mode=["multi-row", "single-cell"], height=min(rows.height + 1, 21) * _ROW + 3,
        alt="Runs",
    )  # fmt: skip
    _follow(event, rows)
    with bar:
        picked_bar(rows[[r for r in event.selection.rows if r < rows.height]])


def _titles(question: Question) -> list[str]:
    from mlrun.where import parse_columns

    return list(dict.fromkeys(n.column for n in parse_columns(question.columns)))


def _follow(event: Any, rows: pl.DataFrame) -> None:
    """Open the run whose name was clicked."""
    for row, column in event.selection.cells:
        if column == "name" and row < rows.height:
            # a table of another key: the cell is not still selected for whoever comes back
            st.session_state["_opened"] = st.session_state.get("_opened", 0) + 1
            address.go("run", id=rows["run_id"][row])


def _config(frame: pl.DataFrame, look: Look) -> dict[str, Any]:
    column = st.column_config
    found: dict[str, Any] = {}
    for name, dtype in frame.schema.items():
        pinned = True if name == "name" or name in look.pinned else None
        if name == CURVE:
            found[name] = column.LineChartColumn(look.metric, width="small", pinned=pinned)
        elif name == "name":
            found[name] = column.TextColumn(
                pinned=True, width=_NAME, help="Click a name to open the run"
            )
        elif dtype == pl.Duration:
            found[name] = column.NumberColumn(format="localized", pinned=pinned)
        elif dtype.is_temporal():
            found[name] = column.DatetimeColumn(
                f"{name} (UTC)", format="YYYY-MM-DD HH:mm", pinned=pinned
            )
        elif dtype.is_float():
            found[name] = column.NumberColumn(format="%.5g", pinned=pinned)
        elif dtype.is_integer():
            found[name] = column.NumberColumn(format="%d", pinned=pinned)
        elif pinned:
            found[name] = column.Column(pinned=True)
    return found


def counted(question: Question, most: int) -> int:
    """Return how many runs are meant, as `Question.count` does."""
    asked = (question.meant, most)
    return kept(_COUNT, asked, 30.0, lambda: question.count(session.store(), most))


def said_of(matching: int, most: int) -> str:
    """Return how many runs there are, in words, if at most `most` were counted."""
    many = f"more than {most:,}" if matching > most else f"{matching:,}"
    return plain(f"{many} run{'' if matching == 1 else 's'}")
