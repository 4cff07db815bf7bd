"""Runs: a table that asks the store for one page at a time, its filter, and what can be done with what is picked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from . import address, session
from .memory import kept
from .runs_controls import Look, controls, wanted_order
from .runs_export import export
from .runs_filter import asked, builder, clear
from .runs_question import COUNTED, Question, newest, sample, titles, together
from .runs_table import counted, said_of, table
from .runs_views import views
from .states import empty, no_runs

if TYPE_CHECKING:
    import polars as pl

__all__ = ["draw"]


def draw() -> None:
    """Draw the page."""
    project = address.text("project")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Runs", anchor=False, width="stretch")
        tools = st.container(horizontal=True, width="content")
    where, order, beside = asked(project, wanted_order())
    question = Question(project=project, where=where, order=order)
    sampled = _sampled(question)
    if sampled.is_empty() and not where:
        no_runs()
        return
    named = titles(sampled, [*address.texts("cols"), *st.session_state.get("cols", [])])
    with beside:
        builder(sampled, named)
    with st.container(horizontal=True, vertical_alignment="center"):
        look = controls(sampled, named, project)
    question = replace(
        question,
        columns=look.columns,
        children=look.children,
        archived=look.archived,
        size=look.size,
    )
    with tools:
        views(project)
        export(question)
    _rows(question, look)


def _sampled(question: Question) -> pl.DataFrame:
    """Return some runs with all their columns: they say which parameters, results and metrics there are."""
    store, project = session.store(), question.project
    new = kept("runs newest", project, 60.0, lambda: newest(store, project))
    if not question.where:
        return new
    meant = kept("runs sample", question, 60.0, lambda: sample(store, question))
    return together(new, meant)


def _rows(question: Question, look: Look) -> None:
    """Draw the page of rows that the address says, and the way to the others."""
    page = int(st.session_state.get("page") or address.number("page") or 1)
    most = _counted_to(page, question.size)
    matching = counted(question, most + 1)
    if not matching:
        empty("No run matches", "Change the filter, or take it away.")
        st.button("Take the filter away", key="_clear", on_click=clear)
        return
    place = st.container()
    pages = -(-min(matching, most) // question.size)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(said_of(matching, most))
        if "page" in st.session_state:
            st.session_state["page"] = max(1, min(page, pages))
        page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    with place:
        table(replace(question, page=page), look, slow=matching > COUNTED)


def _counted_to(page: int, size: int) -> int:
    """Return how many runs are counted for somebody on a page, in steps so that few pages count anew."""
    return max(COUNTED, -(-(page + 10) * size // 1000) * 1000)
