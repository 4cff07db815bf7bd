"""Charts as Vega-Lite specifications: data go to the browser as Arrow, the look is the theme's.

A chart of lines takes what `mlrun.metrics(points=…)` gives. Dragging over it chooses a range of x; the page writes the
range into the address and asks again, so that a zoomed chart has as many points as one of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from .look import COLORS

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

__all__ = ["Axis", "line_spec", "lines"]

_MANY = 4_000  # points above which a canvas draws quicker than SVG
_ZOOM = "zoom"


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Attributes:
        field: column of the frame.
        title: what stands beside it.
        time: whether its values are moments.
        log: logarithmic; values that are not above zero are left out.
    """

    field: str
    title: str = ""
    time: bool = False
    log: bool = False

    def encoding(self) -> dict[str, Any]:
        """Return its Vega-Lite encoding."""
        kind = "temporal" if self.time else "quantitative"
        scale: dict[str, Any] = {"zero": False, "nice": not self.time}
        if self.log:
            scale = {"type": "symlog" if self.field == "step" else "log", "nice": False}
        if self.time:
            scale = {"type": "utc"}
        return {
            "field": self.field,
            "type": kind,
            "scale": scale,
            "axis": {"title": self.title or None, "grid": True},
        }


def line_spec(
    x: Axis,
    y: Axis,
    color: str,
    *,
    points: int = 0,
    names: list[str] | None = None,
    raw: str = "",
    band: tuple[str, str] | None = None,
    height: int = 260,
    zoom: bool = True,
) -> dict[str, Any]:
    """Return the specification of lines.

    Args:
        x: along.
        y: up.
        color: column that tells the lines apart.
        points: how many rows there are: many are drawn on a canvas.
        names: the lines in the order of their colours; default as they come.
        raw: column drawn faintly behind, for instance what `y` was before smoothing.
        band: columns between which a band is drawn, for instance the mean less and plus its deviation.
        height: pixels.
        zoom: whether dragging chooses a range of x.
    """
    along, up = x.encoding(), y.encoding()
    tone = {
        "field": color,
        "type": "nominal",
        "scale": {"range": COLORS, **({"domain": names} if names else {})},
        "legend": {
            "title": None,
            "orient": "bottom",
            "columns": 4,
            "labelLimit": 260,
            "symbolLimit": 24,
        },
    }
    line = {"type": "line", "strokeWidth": 1.6, "interpolate": "linear", "clip": True}
    layers: list[dict[str, Any]] = []
    if band:
        low, high = band
        ends = {"y": {**up, "field": low}, "y2": {"field": high}}
        layers.append({"mark": {"type": "area", "opacity": 0.18, "clip": True}, "encoding": ends})
    if raw:
        faint = {**line, "opacity": 0.25, "strokeWidth": 1}
        layers.append({"mark": faint, "encoding": {"y": {**up, "field": raw}}})
    main: dict[str, Any] = {"mark": {**line, "tooltip": True}, "encoding": {"y": up}}
    if zoom:
        main["params"] = [{"name": _ZOOM, "select": {"type": "interval", "encodings": ["x"]}}]
    layers.append(main)
    spec: dict[str, Any] = {
        "height": height,
        "layer": layers,
        "encoding": {"x": along, "color": tone},
        "config": {"legend": {"labelFontSize": 12}},
    }
    if points > _MANY:
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
    return spec


def lines(
    frame: pl.DataFrame,
    x: Axis,
    y: Axis,
    color: str,
    *,
    key: str,
    alt: str,
    on_zoom: Callable[[float, float], None] | None = None,
    **look: Any,
) -> None:
    """Draw lines.

    Args:
        frame: rows of x, y and color.
        x: along.
        y: up.
        color: column that tells the lines apart.
        key: of the widget, unique on the page and another one for another range.
        alt: what the chart shows, for those who cannot see it.
        on_zoom: called with the ends of the range that was dragged, in the units of x (milliseconds for times).
        **look: as of `line_spec`.
    """
    spec = line_spec(x, y, color, points=frame.height, zoom=on_zoom is not None, **look)
    data = frame.to_arrow()
    if on_zoom is None:
        st.vega_lite_chart(data, spec, width="stretch", key=key, alt=alt)
        return

    def selected() -> None:
        chosen = (st.session_state[key].get("selection") or {}).get(_ZOOM) or {}
        ends = chosen.get(x.field) or []
        if len(ends) == 2 and ends[0] < ends[1]:
            on_zoom(float(ends[0]), float(ends[1]))

    st.vega_lite_chart(
        data, spec, width="stretch", key=key, alt=alt, on_select=selected, selection_mode=[_ZOOM]
    )
