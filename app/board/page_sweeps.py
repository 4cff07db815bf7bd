"""Sweeps: hyperparameter jobs, how their best came about, their trials, and what mattered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl
import streamlit as st

from . import address, plots, session
from .compare_relations import coordinates_of, matters
from .look import state_badge
from .memory import kept
from .states import empty
from .sweeps_jobs import best_so_far, job, jobs
from .sweeps_progress import KINDS, kinds_of, progress
from .words import lasting, plain, short

if TYPE_CHECKING:
    from mlrun.store import Store

    from .sweeps_jobs import Job

__all__ = ["draw"]

_LIVE_SECONDS = 2.0
_LIST_SECONDS = 5.0
_HOW = """fn = mlrun.new_function("train", handler=train)
fn.run(
    hyperparams={"lr": [0.1, 0.01], "depth": [2, 4]},
    hyper_param_options={"selector": "max.score"},
)"""


def draw() -> None:
    """Draw the page."""
    run_id = address.text("id")
    store = session.store()
    if run_id:
        _job(store, run_id)
    else:
        _list(store)


def _list(store: Store) -> None:
    st.title("Sweeps", anchor=False)
    project = address.text("project")
    found = kept("sweeps", (store.url, project), _LIST_SECONDS, lambda: jobs(store, project))
    if found.is_empty():
        empty("No sweeps yet", "A function and lists of values make one:", _HOW)
        return

    def opened() -> None:
        rows = st.session_state["_jobs"]["selection"]["rows"]
        if rows:
            address.put(id=found["run_id"][rows[0]])

    st.dataframe(
        found.drop("run_id"), key="_jobs", hide_index=True, on_select=opened,
        selection_mode="single-row", alt=f"{found.height} sweeps",
        column_config={"started_at": st.column_config.DatetimeColumn("started, UTC")},
    )  # fmt: skip
    st.caption("Choose a row to see its trials.")


def _job(store: Store, run_id: str) -> None:
    found = _found(store, run_id)
    st.title(plain(found.view.name or found.view.id[-8:]), anchor=False)
    every = _LIVE_SECONDS if found.live else None
    st.fragment(_room, run_every=every)(store, found.view.id, live=found.live)


def _found(store: Store, run_id: str) -> Job:
    def fresh(one: Job) -> float:
        return _LIVE_SECONDS / 2 if one.live else math.inf

    return kept("sweep", (store.url, run_id), fresh, lambda: job(store, run_id))


def _room(store: Store, run_id: str, *, live: bool) -> None:
    """Draw what changes while the job runs."""
    found = _found(store, run_id)
    if live and not found.live:
        st.rerun()
    _head(found)
    if found.table.is_empty():
        st.info("No trial has begun yet." if found.live else "This run has no trials.")
        return
    _progress(found)
    _table(found)
    names = [f"trial {n}" for n in found.table["iter"].to_list()]
    if found.goal:
        matters(found.table, found.params, found.goal)
        coordinates_of(found.table, names, found.params, found.goal)


def _head(found: Job) -> None:
    kinds = _kinds(found)
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(found.view.state)
        said = [f"{len(kinds)} trials", *(f"{kinds.count(k)} {k}" for k in KINDS if k in kinds)]
        if total := found.facts.get("iterations"):
            said[0] = f"{len(kinds)} of {total} trials"
        started, ended = found.view.started_at, found.view.finished_at
        if started and ended:
            said.append(lasting(ended - started))
        st.caption(plain(", ".join(said)), width="content")
        if st.button("Open the run", key="_run", type="tertiary"):
            address.go("run", id=found.view.id, project=address.text("project"))
        if st.button("Compare the trials", key="_compare", type="tertiary"):
            where = "parent = '" + found.view.id.replace("'", "''") + "'"
            address.go("compare", where=where, project=address.text("project"))
        if st.button("All sweeps", key="_all", type="tertiary"):
            address.put(id=None)
            st.rerun()
    if found.facts.get("stopped"):
        st.caption(plain(f"Stopped: {found.facts['stopped']}"))
    _best(found)


def _best(found: Job) -> None:
    best = found.best
    if best is None:
        if selector := found.facts.get("selector"):
            st.caption(plain(f"No trial has completed with a value of {selector} yet."))
        return
    with st.container(border=True):
        key = found.goal.removeprefix("output.")
        st.markdown(f"Best: trial {best['iter']}, {plain(key)} = {plain(short(best[found.goal]))}")
        values = [f"{n.removeprefix('param.')} = {short(best[n])}" for n in found.params]
        st.caption(plain(", ".join(values)))
        if st.button("Open the best trial", key="_best"):
            _open(best["run_id"])


def _progress(found: Job) -> None:
    if not found.goal:
        st.info("No numeric output says which trial is best; name one with `selector`.")
        return
    key = found.goal.removeprefix("output.")
    way = "least" if found.way == "min" else "greatest"
    st.subheader("Best so far", anchor=False)
    made = progress(best_so_far(found.table, found.goal, found.way), found.table, key)
    if made[0].is_empty():
        st.caption("No trial has a value yet.")
        return
    plots.draw(made, key="_progress", alt=f"{key} of each trial, and the {way} so far")
    st.caption(plain(f"Each mark is a trial; the line is the {way} {key} of those completed."))


def _table(found: Job) -> None:
    st.subheader("Trials", anchor=False)
    table = found.table.with_columns(
        pl.Series("state", _kinds(found), pl.String), pl.col("stopped").alias("stopped by")
    )
    front = ["iter", "state"] + (["stopped by"] if table["stopped by"].count() else [])
    table = table.select(*front, *found.params, pl.col("^output\\..*$"))
    ids = found.table["run_id"].to_list()

    def opened() -> None:
        rows = st.session_state["_trials"]["selection"]["rows"]
        if rows and ids[rows[0]]:
            st.session_state["_open"] = ids[rows[0]]

    st.dataframe(
        table, key="_trials", hide_index=True, on_select=opened, selection_mode="single-row",
        alt=f"{table.height} trials",
    )  # fmt: skip
    st.caption("Choose a row to open the trial's run.")
    if wanted := st.session_state.pop("_open", None):
        _open(wanted)


def _open(run_id: str) -> None:
    address.go("run", id=run_id, project=address.text("project"))


def _kinds(found: Job) -> list[str]:
    return kinds_of(found.table["state"].to_list(), found.table["stopped"].to_list())
