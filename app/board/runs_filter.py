"""The filter of the runs page: a line in the `where` language, a builder for those who do not type it, and states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.errors import WhereError

from .look import STATE_ICONS
from .runs_clause import added, clause, name_of_header, needs_value, operators
from .runs_question import NEWEST, readable
from .words import plain

if TYPE_CHECKING:
    import polars as pl
    from streamlit.delta_generator import DeltaGenerator

__all__ = ["asked", "builder", "clear", "first_page"]

_STATES = ("running", "pending", "completed", "error", "aborted", "lost", "skipped")
_GOOD = "_runs_good"
_MOST = 40  # values of a column that are offered
_EXAMPLES = {
    "in the last": "7 days", "after": "2026-01-31", "before": "2026-01-31", "longer than": "1h 30m",
    "shorter than": "90 s", "is one of": "a, b, c",
}  # fmt: skip


def first_page() -> None:
    """Go back to the first page: other rows are asked for. In a callback."""
    st.session_state["page"] = 1


def clear() -> None:
    """Take the filter away. In a callback."""
    st.session_state.update(where="", state=[], page=1)


def asked(project: str, order: str) -> tuple[str, str, DeltaGenerator]:
    """Draw the line and the states.

    Returns:
        The filter and the order that can be read, and the place beside the line. A line that cannot be read is told of
        below it; the filter is then the last one that could.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        where = st.text_input(
            "Filter", key="where", bind="query-params", on_change=first_page, icon=":material/filter_alt:",
            placeholder="metrics.acc > 0.9 and params.lr = 0.1 and 'baseline' in tags",
            width="stretch",
        )  # fmt: skip
        place = st.container(width="content")
    trouble = st.container()
    states = st.pills(
        "State", _STATES, selection_mode="multi", key="state", bind="query-params", on_change=first_page,
        label_visibility="collapsed",
    )  # fmt: skip
    try:
        found = readable(where or "", list(states or ()), order)
    except WhereError as error:
        with trouble:
            st.code(str(error), language=None)
            st.caption("The rows below are those of the filter before.")
        of, *kept = st.session_state.get(_GOOD, (project, "", NEWEST))
        return (kept[0], kept[1], place) if of == project else ("", NEWEST, place)
    st.session_state[_GOOD] = (project, *found)
    return *found, place


def builder(sampled: pl.DataFrame, titles: dict[str, str]) -> None:
    """Draw the builder: a column, an operator and a value become a clause of the filter."""
    with st.popover("Add a clause", icon=":material/add:"):
        known = list(titles.values())
        usual = known.index("state") if "state" in known else 0
        title = st.selectbox("Column", known, index=usual, key="_column")
        name = name_of_header(title or "state")
        operator = st.selectbox("Is", operators(name), key=f"_operator_{name.column == 'tags'}")
        value = ""
        if needs_value(operator):
            value = st.selectbox(
                "Value", _offered(sampled, title or "state", operator), index=None, key="_value",
                accept_new_options=True, placeholder=_EXAMPLES.get(operator, "pick or type"),
            ) or ""  # fmt: skip
        try:
            text = clause(name, operator, value) if value or not needs_value(operator) else ""
        except WhereError as error:
            if value:
                st.code(str(error), language=None)
            text = ""
        if text:
            st.code(text, language=None, wrap_lines=True)
        st.button("Add", key="_add", type="primary", disabled=not text, on_click=_add, args=(text,))
        if problem := st.session_state.pop("_add_failed", ""):
            st.error(plain(problem))


def _add(text: str) -> None:
    try:
        st.session_state["where"] = added(st.session_state.get("where") or "", text)
    except WhereError:
        st.session_state["_add_failed"] = "First mend the filter: it cannot be read."
        return
    st.session_state.pop("_value", None)
    first_page()


def _offered(sampled: pl.DataFrame, title: str, operator: str) -> list[str]:
    """Return values that runs have, as they can be typed."""
    if operator in _EXAMPLES and operator != "is one of":
        return ["1h", "1 day", "7 days", "30 days"] if operator == "in the last" else []
    if title == "state":
        return list(STATE_ICONS)
    if title not in sampled.columns:
        return []
    column = sampled[title]
    if title == "tags":
        column = column.explode()
    if column.dtype.is_float() or column.dtype.is_temporal():
        return []
    found = column.drop_nulls().unique().sort().head(_MOST).to_list()
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in found]
