"""Pictures, histograms, tables and sounds that a run logged by step, with a slider over the steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import polars as pl
import streamlit as st

import mlrun

from . import session
from .previews import preview
from .run_live import fingerprint, goes_on, kept
from .words import plain

if TYPE_CHECKING:
    from mlrun.view import RunView

__all__ = ["again", "by_step", "media"]

_EVERY = 3.0  # seconds between two looks for new artifacts of a run that goes on: they change no count of points
_SHOWN = 6  # kinds of media on a page
_TYPES = ("image", "histogram", "table", "audio", "video", "html", "figure")


def by_step(lineage: pl.DataFrame) -> pl.DataFrame:
    """Return what of a run's artifacts is media logged by step: those with several steps, or one beyond the first.

    Of a key and step the one that came last counts. Columns `key, step, uri, type`, by key and step.
    """
    made = lineage.filter((pl.col("role") == "output") & pl.col("type").is_in(_TYPES))
    last = made.sort("time").unique(["key", "step"], keep="last")
    several = (pl.col("step").n_unique() > 1).over("key") | (pl.col("step") > 0)
    return last.filter(several).select("key", "step", "uri", "type").sort("key", "step")


def again(view: RunView) -> int:
    """Return a number that changes every few seconds while the run goes on."""
    return int(time.monotonic() / _EVERY) if goes_on(view) else 0


def media(view: RunView) -> None:
    """Draw them; nothing where there are none."""
    seen = again(view) or fingerprint(view)
    frame = kept("media", (view.id, seen), lambda: by_step(view.lineage()))
    if frame.is_empty():
        return
    st.subheader("Media by step", anchor=False)
    keys = frame["key"].unique(maintain_order=True).to_list()
    if len(keys) > _SHOWN:
        pages = -(-len(keys) // _SHOWN)
        number = st.pagination(pages, key="media", bind="query-params")
        keys = keys[(number - 1) * _SHOWN : number * _SHOWN]
    for begin in range(0, len(keys), 2):
        for column, key in zip(st.columns(2), keys[begin : begin + 2], strict=False):
            with column:
                _one(key, frame.filter(pl.col("key") == key))


def _one(key: str, frame: pl.DataFrame) -> None:
    st.markdown(plain(key))
    steps = frame["step"].to_list()
    step = steps[0]
    if len(steps) > 1:
        step = st.select_slider("Step", steps, value=steps[-1], key=f"_step_{key}")
    else:
        st.caption(f"step {step}")
    uri = frame.filter(pl.col("step") == step)["uri"][0]
    item = kept(f"media {key}", (uri,), lambda: mlrun.get_artifact(uri, store=session.store()))
    preview(item, key=f"media_{key}")
