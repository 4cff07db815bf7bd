"""Runs inside a run: iterations of a hyperparameter job, steps of a workflow, attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import streamlit as st

import mlrun
from mlrun.errors import WhereError

from . import address, session
from .look import STATE_ICONS
from .run_live import fingerprint, kept
from .run_media import again
from .states import empty
from .words import plain

if TYPE_CHECKING:
    from mlrun.view import RunView

__all__ = ["child_table", "draw"]

_PAGE = 100  # rows
_ROW = 35  # pixels
_OWN = ("iteration", "name", "state", "started_at", "duration", "error")


def child_table(frame: pl.DataFrame, best: int | None) -> pl.DataFrame:
    """Return what people read of a frame of `mlrun.runs`: a mark of the best, then state, parameters and results.

    Columns in which every child has nothing are left out.
    """
    names = [
        c for c in frame.columns if c in _OWN or c.startswith(("params.", "results.", "metrics."))
    ]
    kept_ = [c for c in names if c in ("state", "name") or frame[c].null_count() < frame.height]
    signs = {state: f"{sign} {state}" for state, sign in STATE_ICONS.items()}
    shown = frame.select(kept_).with_columns(pl.col("state").replace(signs))
    if "duration" in kept_:
        shown = shown.with_columns(pl.col("duration").dt.total_microseconds() / 1e6)
    is_best = pl.lit(None) if best is None else pl.col("iteration") == best
    mark = pl.when(is_best).then(pl.lit("★ best")).otherwise(pl.lit(""))
    return shown if best is None else shown.select(mark.alias("best"), pl.all())


def draw(view: RunView) -> None:
    """Draw the room."""
    found = _asked(view)
    if found is None:
        return
    if found.is_empty():
        empty(
            "Nothing inside this run",
            "Iterations of a hyperparameter job, steps of a workflow and further attempts are listed here.",
            'fn.run(hyperparams={"lr": [0.1, 0.01]})',
        )  # fmt: skip
        return
    best = view.results.get("best_iteration")
    shown = child_table(found, best if isinstance(best, int) else None)
    if "best" in shown.columns:
        st.caption(plain(f"Iteration {best} is the best by {_selector(view)}."))
    picked = st.dataframe(
        shown, hide_index=True, on_select="rerun", selection_mode="single-row", key="_children",
        height=_ROW * (1 + min(shown.height, 18)) + 3, alt="Runs inside this run",
        column_config={
            "started_at": st.column_config.DatetimeColumn("started, UTC", format="YYYY-MM-DD HH:mm:ss"),
            "duration": st.column_config.NumberColumn("seconds", format="%.3f"),
        },
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open the chosen run", disabled=not rows, key="_open_child", type="primary"):
            address.go("run", id=found["run_id"][rows[0]])
        if st.button("Compare them", key="_compare", icon=":material/stacked_line_chart:"):
            address.go("compare", id=found["run_id"].to_list()[:50])
        if found.height == _PAGE or address.number("row"):
            _turn(found.height)


def _selector(view: RunView) -> str:
    facts = view.provenance.get("hyper")
    return str((facts or {}).get("selector") or "its job's choice")


def _turn(rows: int) -> None:
    at = _offset()
    st.button(
        "Earlier rows", disabled=at == 0, key="_earlier",
        on_click=lambda: address.put(row=max(0, at - _PAGE) or None),
    )  # fmt: skip
    st.button(
        "Further rows", disabled=rows < _PAGE, key="_further", on_click=lambda: address.put(row=at + _PAGE)
    )  # fmt: skip
    st.caption(f"Rows {at + 1} to {at + rows}")


def _offset() -> int:
    return max(0, int(address.number("row") or 0))


def _asked(view: RunView) -> pl.DataFrame | None:
    """Return a page of the children; None, and words beside the field, when the filter cannot be understood."""
    where = st.text_input(
        "Filter", key="inside", bind="query-params", placeholder="params.lr > 0.01 and state = 'completed'",
        icon=":material/filter_alt:", width=480, on_change=lambda: address.put(row=None),
    )  # fmt: skip
    quoted = "'" + view.id.replace("'", "''") + "'"
    mine = f"parent = {quoted}" + (f" and ({where})" if where else "")
    question: tuple[Any, ...] = (
        view.id,
        view.state,
        again(view) or fingerprint(view),
        where,
        _offset(),
    )
    try:
        found: pl.DataFrame = kept("children", question, lambda: _page(mine))
    except WhereError as error:
        st.error(plain(error))
        return None
    return found


def _page(where: str) -> pl.DataFrame:
    return mlrun.runs(
        where=where, children=True, order_by=["iteration", "started_at"], limit=_PAGE, offset=_offset(),
        store=session.store(),
    )  # fmt: skip
