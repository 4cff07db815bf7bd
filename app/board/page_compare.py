"""Compare: the curves of runs over each other, in what they differ, and what their parameters have to do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.errors import WhereError

from . import address, session
from .compare_curves import curves
from .compare_relations import relations
from .compare_runs import compared
from .compare_table import table
from .memory import kept
from .states import empty
from .words import plain

if TYPE_CHECKING:
    from mlrun.store import Store

    from .compare_runs import Compared

__all__ = ["draw"]

_VIEWS = ("Curves", "Table", "Relations")
_LIVE_SECONDS, _ENDED_SECONDS = 2.0, 60.0


def draw() -> None:
    """Draw the page."""
    st.title("Compare", anchor=False)
    store = session.store()
    ids = address.texts("id")
    where = "" if ids else _filter()
    try:
        found = _found(store, ids, where)
    except WhereError as error:
        st.error("This filter cannot be understood.")
        st.code(str(error), language=None)
        return
    if found.frame.is_empty():
        _nothing(ids, where)
        return
    _say(found, ids, where)
    view = st.segmented_control(
        "View", _VIEWS, default=_VIEWS[0], required=True, key="view", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    if view == "Table":
        table(found)
    elif view == "Relations":
        goals = found.columns("results", "metrics", numeric=True)
        relations(found.frame, found.names, found.columns("params"), goals)
    else:
        curves(store, found)


def _filter() -> str:
    return (
        st.text_input(
            "Filter", key="where", bind="query-params",
            placeholder="metrics.acc > 0.9 and params.lr = 0.1",
        )
        or ""
    ).strip()  # fmt: skip


def _found(store: Store, ids: list[str], where: str) -> Compared:
    project = address.text("project")

    def fresh(found: Compared) -> float:
        return _LIVE_SECONDS if found.live else _ENDED_SECONDS

    question = (store.url, tuple(ids), where, project)
    return kept("compared runs", question, fresh, lambda: compared(store, ids, where, project))


def _nothing(ids: list[str], where: str) -> None:
    if ids or where:
        empty(
            "No run is found", "The ids or the filter fit no run here; see Runs for what there is."
        )
    else:
        empty("Nothing to compare yet", "Choose runs in Runs, or log some:",
              'with mlrun.init(project="first") as run:\n    run.log({"loss": 0.5})')  # fmt: skip


def _say(found: Compared, ids: list[str], where: str) -> None:
    count = found.frame.height
    said = f"{count} runs" if ids or where else f"The {count} newest runs"
    if found.more:
        said = f"The first {count:,} runs of more"
    if found.missing:
        names = ", ".join(plain(one) for one in found.missing[:3])
        said += f"; {len(found.missing)} of the ids are of no run here: {names}"
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        st.caption(said)
        if ids and st.button("Choose others", type="tertiary"):
            address.go("runs", project=address.text("project"))
