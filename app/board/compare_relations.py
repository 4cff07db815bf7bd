"""How results hang together with parameters: parallel coordinates, scatter, and what matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from . import plots
from .compare_diff import differing
from .importance import LEAST_RUNS, importance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

__all__ = ["coordinates_of", "matters", "relations"]

_MOST_AXES = 8
_FIRST_AXES = 6


def relations(frame: pl.DataFrame, names: list[str], params: list[str], goals: list[str]) -> None:
    """Draw the room.

    Args:
        frame: a row per run.
        names: of the runs, no two alike.
        params: columns of what was chosen.
        goals: numeric columns of what came of it.
    """
    params = differing(frame, params)
    if not goals:
        st.info("These runs have no numeric results or metrics to set beside their parameters.")
        return
    target = st.selectbox("Target", goals, key="target", bind="query-params", width=320)
    coordinates_of(frame, names, params, target)
    matters(frame, params, target)
    _scatter(frame, names, params, goals, target)


def coordinates_of(
    frame: pl.DataFrame, names: Sequence[str], params: list[str], target: str
) -> None:
    """Draw parallel coordinates, coloured by a target."""
    st.subheader("Parallel coordinates", anchor=False)
    others = [n for n in frame.columns if n.startswith(("params.", "results.", "metrics."))]
    choices = list(dict.fromkeys([*params, target, *others]))
    first = [*params[:_FIRST_AXES], target]
    axes = st.multiselect(
        "Axes", choices, default=first, key="axes", bind="query-params", max_selections=_MOST_AXES
    )
    if len(axes) < 2:
        st.caption("Choose two axes or more.")
        return
    made = plots.parallel(frame, names, axes, target)
    plots.draw(made, key="_parallel", alt=f"{', '.join(axes)} of {frame.height} runs")


def matters(frame: pl.DataFrame, params: Sequence[str], target: str) -> None:
    """Draw how much each parameter has to do with a target."""
    st.subheader("What matters", anchor=False)
    found = importance(frame, params, target)
    if found.is_empty():
        st.caption(
            f"This takes {LEAST_RUNS} runs or more that differ in a parameter and have the target."
        )
        return
    plots.draw(plots.bars(found.head(20)), key="_bars", alt=f"Share of each parameter in {target}")
    st.dataframe(
        found, hide_index=True, key="_importance", alt="Correlation and share of each parameter",
        column_config={
            "correlation": st.column_config.NumberColumn(format="%+.3f"),
            "share": st.column_config.NumberColumn(format="%.3f"),
        },
    )  # fmt: skip
    st.caption(
        "Share: the part of the target's variance between the values of one parameter (numbers in 6 ranges), less "
        "what chance would give. Correlation: of ranks, after Spearman. Each parameter alone: what only combinations "
        "do is not seen."
    )


def _scatter(
    frame: pl.DataFrame, names: list[str], params: list[str], goals: list[str], target: str
) -> None:
    st.subheader("Scatter", anchor=False)
    choices = list(dict.fromkeys([*params, *goals, "duration", "started_at"]))
    choices = [name for name in choices if name in frame.columns]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = st.selectbox("Across", choices, key="sx", bind="query-params", width=220)
        y = st.selectbox(
            "Up", choices, index=choices.index(target), key="sy", bind="query-params", width=220
        )
        color = st.selectbox(
            "Colour", ["", *choices], key="color", bind="query-params", width=220,
            format_func=lambda name: name or "none",
        )  # fmt: skip
        logx = st.toggle("Log across", key="slogx", bind="query-params")
        logy = st.toggle("Log up", key="slogy", bind="query-params")
    made = plots.scatter(frame, names, x, y, color, logx=logx, logy=logy)
    if made[0].is_empty():
        st.caption("No run has both.")
        return
    plots.draw(made, key="_scatter", alt=f"{y} by {x} of {made[0].height} runs")
