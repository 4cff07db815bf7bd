"""How a sweep went, as a chart: every trial's value against its number, and the best so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from .charts import GREY, framed
from .look import COLORS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KINDS", "kinds_of", "progress"]

KINDS = ("completed", "stopped early", "failed", "running", "other")
_TONES = (COLORS[0], COLORS[1], COLORS[6], COLORS[2], GREY)
_SHAPES = ("circle", "square", "cross", "triangle-up", "diamond")
_OF = {"error": "failed", "lost": "failed", "running": "running", "completed": "completed"}


def kinds_of(states: Sequence[str], stopped: Sequence[str | None]) -> list[str]:
    """Return what became of each trial, of KINDS."""
    return [
        "stopped early" if why is not None else _OF.get(state, "other")
        for state, why in zip(states, stopped, strict=True)
    ]


def progress(
    best: pl.DataFrame, table: pl.DataFrame, title: str, height: int = 320
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows and the specification of the chart.

    Args:
        best: as of `best_so_far`.
        table: the iteration table, with `iter, state, stopped`.
        title: what the value is.
        height: pixels.
    """
    kinds = table.select(
        "iter", pl.Series("kind", kinds_of(table["state"].to_list(), table["stopped"].to_list()),
                          pl.String),
    )  # fmt: skip
    rows = best.join(kinds, on="iter", how="left", maintain_order="left")
    rows = rows.select(pl.col("iter").cast(pl.Float64), "value", "best", "kind", "is_best")
    there = [kind for kind in KINDS if kind in set(rows["kind"])]
    whole = {"format": "d", "tickMinStep": 1, "title": "trial", "titlePadding": 6}
    along = {"field": "iter", "type": "quantitative", "axis": whole,
             "scale": {"zero": False, "nice": False, "padding": 8}}  # fmt: skip
    up = {"type": "quantitative", "scale": {"zero": False}, "title": title}
    legend = {"title": None, "orient": "bottom"}
    tone = {"field": "kind", "type": "nominal", "legend": legend, "scale": {
        "domain": there, "range": [_TONES[KINDS.index(k)] for k in there]}}  # fmt: skip
    shape = {"field": "kind", "type": "nominal", "legend": legend, "scale": {
        "domain": there, "range": [_SHAPES[KINDS.index(k)] for k in there]}}  # fmt: skip
    told = [
        {"field": "iter", "type": "quantitative", "title": "trial"},
        {"field": "value", "type": "quantitative", "title": title, "format": ".6~g"},
        {"field": "kind", "type": "nominal", "title": "state"},
    ]
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "color": COLORS[0]}
    layers = [
        {"mark": line, "encoding": {"y": {**up, "field": "best"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 48, "opacity": 0.85},
            "encoding": {"y": {**up, "field": "value"}, "color": tone, "shape": shape,
                         "tooltip": told},
        },
    ]  # fmt: skip
    spec: dict[str, Any] = {
        "height": height, "layer": layers, "encoding": {"x": along}, "config": framed(),
    }  # fmt: skip
    if rows.height > 600:
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
    return rows, spec
