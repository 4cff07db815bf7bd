"""SQL: one SELECT over the stored tables, its answer as a table or a chart, and queries that were kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

import mlrun

from . import session
from .sql_answer import ROWS, Answer, as_csv, as_parquet, ask, python_line
from .sql_figure import KINDS, choices, figure
from .sql_saved import saved_queries
from .sql_schema import EXAMPLES, columns_of, tables_for

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

__all__ = ["draw"]

_ANSWER = "_answer"
_TABLE, _CHART = "Table", "Chart"


def draw() -> None:
    """Draw the page."""
    st.title("SQL", anchor=False)
    query = _editor()
    with st.container(horizontal=True):
        _schema()
        saved_queries(query, _write)
    if not query.strip():
        _examples()
        return
    found = _answered(query)
    if found.error:
        st.error("The query could not be answered.")
        st.code(found.error, language=None)
    else:
        _show(found)


def _editor() -> str:
    with st.form("_ask", border=False):
        query = st.text_area(
            "Query", key="q", bind="query-params", height=170,
            placeholder="select name, state, started_at from runs order by started_at desc limit 20",
        )  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="center"):
            asked = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:")
            st.caption("Ctrl+Enter or ⌘+Enter runs it. One SELECT; nothing can be changed.")
    if asked:
        st.session_state.pop(_ANSWER, None)
    return query or ""


def _answered(query: str) -> Answer:
    """Return the answer of a query; the same one is not asked twice unless somebody runs it again."""
    store = session.store()
    kept = st.session_state.get(_ANSWER)
    if kept is not None and kept[0] == (query, store.url):
        found: Answer = kept[1]
        return found
    with st.spinner("Asking…"):
        found = ask(store, query)
    st.session_state[_ANSWER] = ((query, store.url), found)
    return found


def _write(query: str) -> None:
    """Put a query into the editor; in a callback, before the editor is drawn."""
    st.session_state["q"] = query


def _schema() -> None:
    """Let the tables and their columns be looked at."""
    with st.popover("Tables and columns", icon=":material/table:"):
        table = st.selectbox(
            "Table", tables_for(admin=session.may("admin")), key="table", bind="query-params"
        )
        columns = columns_of(table)
        st.dataframe(
            columns, hide_index=True, width=360, height=min(36 * (columns.height + 1), 360),
            alt=f"Columns of the table {table}",
        )  # fmt: skip
        query = f"select *\nfrom {table}\nlimit 100"
        st.button("Select from it", on_click=_write, args=(query,))


def _examples() -> None:
    st.caption("Begin with one of these:")
    for number, (what, query) in enumerate(EXAMPLES.items()):
        with st.container(border=True):
            st.button(what, key=f"_example{number}", on_click=_write, args=(query,))
            st.code(query, language="sql")


def _show(found: Answer) -> None:
    frame = found.frame
    with st.container(horizontal=True, vertical_alignment="center"):
        shape = st.segmented_control(
            "Show as", [_TABLE, _CHART], default=_TABLE, key="show", bind="query-params",
            label_visibility="collapsed", required=True,
        )  # fmt: skip
        st.caption(_count(found))
        _downloads(found)
    if shape == _CHART:
        _chart(frame)
    else:
        st.dataframe(frame, hide_index=True, alt=f"The answer: {frame.height} rows")
    with st.expander("The same in Python"):
        st.code(python_line(found.query), language="python")


def _count(found: Answer) -> str:
    rows = found.frame.height
    if found.cut:
        return f"The first {ROWS:,} rows; there are more. A download has them all."
    return f"{rows:,} {'row' if rows == 1 else 'rows'}, {found.frame.width} columns"


def _downloads(found: Answer) -> None:
    kinds = (("CSV", "csv", "text/csv", as_csv),
             ("Parquet", "parquet", "application/vnd.apache.parquet", as_parquet))  # fmt: skip
    store = session.store()

    def whole() -> pl.DataFrame:
        return mlrun.sql(found.query, store=store) if found.cut else found.frame

    for label, suffix, mime, made in kinds:
        st.download_button(
            label, partial(_bytes, made, whole), f"answer.{suffix}", mime, on_click="ignore",
            icon=":material/download:", key=f"_as_{suffix}",
        )  # fmt: skip


def _bytes(made: Callable[[pl.DataFrame], bytes], whole: Callable[[], pl.DataFrame]) -> bytes:
    return made(whole())


def _chart(frame: pl.DataFrame) -> None:
    along, up, colors = choices(frame)
    if not up or frame.is_empty():
        st.info("A chart needs rows and a column of numbers for its y axis.")
        return
    for name, options in (("x", along), ("y", up), ("color", ["", *colors])):
        _forget_unknown(name, options)
    with st.container(horizontal=True):
        x = st.selectbox("x", along, key="x", bind="query-params", width=200)
        y = st.selectbox("y", up, index=_other(up, x), key="y", bind="query-params", width=200)
        color = st.selectbox(
            "Colour", ["", *colors], key="color", bind="query-params", width=200,
            format_func=lambda name: name or "None",
        )  # fmt: skip
        kind = st.selectbox("Kind", KINDS, key="kind", bind="query-params", width=140)
    drawn, spec = figure(frame, kind, x, y, color)
    key = f"_chart-{kind}-{x}-{y}-{color}"
    st.vega_lite_chart(drawn.to_arrow(), spec, width="stretch", key=key, alt=f"{y} by {x}")


def _forget_unknown(name: str, options: list[str]) -> None:
    """Forget a choice that another query's answer does not have."""
    if name in st.session_state and st.session_state[name] not in options:
        del st.session_state[name]


def _other(options: list[str], taken: str) -> int:
    return next((i for i, name in enumerate(options) if name != taken), 0)
