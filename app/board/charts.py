"""Charts as Vega-Lite specifications: data go to the browser as Arrow, the look is the theme's.

A chart of lines takes what `mlrun.metrics(points=…)` gives. Dragging over it chooses a range of x; the page writes the
range into the address and asks again, so that a zoomed chart has as many points as one of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import streamlit as st

from .look import COLORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["GREY", "Axis", "framed", "line_spec", "lines"]

GREY = "#8a919c"
_MANY = 1_500  # points above which a canvas draws quicker than SVG
_HOVERED = 25_000  # points above which only the line's name is shown under the pointer
_ZOOM = "zoom"
_BAND = {"type": "area", "opacity": 0.18, "clip": True, "tooltip": False}
_LINE = {"type": "line", "strokeWidth": 1.6, "interpolate": "linear", "clip": True}


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Attributes:
        field: column of the frame; not one with a dot or bracket in its name, which Vega would take apart.
        title: what stands beside it.
        time: whether its values are moments.
        log: logarithmic; values that are not above zero are left out (steps are not: they begin at zero).
        span: the ends that are shown; default what the values need.
    """

    field: str
    title: str = ""
    time: bool = False
    log: bool = False
    span: tuple[float, float] | None = None

    def encoding(self) -> dict[str, Any]:
        """Return its Vega-Lite encoding."""
        kind = "temporal" if self.time else "quantitative"
        scale: dict[str, Any] = {"zero": False, "nice": not (self.time or self.span)}
        if self.log:
            scale = {"type": "symlog" if self.symmetric else "log", "nice": False}
        if self.time:
            scale = {"type": "utc"}
        if self.span:
            scale["domain"] = list(self.span)
        return {
            "field": self.field,
            "type": kind,
            "scale": scale,
            "axis": {"title": self.title or None, "grid": True, "titlePadding": 6},
        }

    @property
    def symmetric(self) -> bool:
        """Whether its logarithm also holds zero."""
        return self.field == "step" or self.title == "step"


def line_spec(
    x: Axis,
    y: Axis,
    color: str,
    *,
    points: int = 0,
    names: list[str] | None = None,
    colors: Sequence[str] = COLORS,
    raw: str = "",
    bands: Sequence[tuple[str, str]] = (),
    faint: str = "",
    height: int = 300,
    zoom: bool = True,
    legend: bool = True,
    small: bool = False,
) -> dict[str, Any]:
    """Return the specification of lines.

    Args:
        x: along.
        y: up.
        color: column that tells the lines apart.
        points: how many rows there are: many are drawn on a canvas.
        names: the lines in the order of their colours; default as they come.
        colors: of the lines, in the order of `names`.
        raw: column drawn faintly behind, for instance what `y` was before smoothing.
        bands: pairs of columns between which a band is drawn, the widest first: the mean less and plus its deviation.
        faint: boolean column; lines where it is true are drawn thin and grey, without a name.
        height: pixels.
        zoom: whether dragging chooses a range of x.
        legend: whether the lines' names stand below.
        small: one of many on a page: drawn quickly, on a canvas; under the pointer only the line's name is shown.
    """
    along, up = x.encoding(), y.encoding()
    shown: list[dict[str, Any]] = [{"filter": f"!datum['{faint}']"}] if faint else []
    layers = [*_behind(up, color, bands, faint, raw, shown)]
    told = _told(x, y, color)
    line = {**_LINE, "point": {"size": 14}} if 0 < points <= 60 else _LINE
    main: dict[str, Any] = {"mark": line, "encoding": {"y": up, "tooltip": told[:1]}}
    if zoom:
        main["params"] = [{"name": _ZOOM, "select": {"type": "interval", "encodings": ["x"]}}]
    layers.append({**main, "transform": shown})
    if points <= _HOVERED and not small:
        dot = {"type": "point", "opacity": 0, "size": 90, "aria": False, "clip": True}
        under = {"mark": dot, "encoding": {"y": up, "tooltip": told}}
        layers.append({**under, "transform": shown})
    spec: dict[str, Any] = {
        "height": height,
        "layer": layers,
        "encoding": {"x": along, "color": _tone(color, names, colors, legend)},
        "config": framed(),
    }
    # as SVG the dragged range would be a picture without a name
    if points > _MANY or small or zoom:
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
    return spec


def _behind(
    up: dict[str, Any],
    color: str,
    bands: Sequence[tuple[str, str]],
    faint: str,
    raw: str,
    shown: list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Yield the layers behind the lines: bands, grey lines, what the values were before smoothing."""
    for low, high in bands:
        ends = {"y": {**up, "field": low}, "y2": {"field": high}}
        there = [{"filter": f"isValid(datum['{low}'])"}]
        yield {"mark": _BAND, "encoding": ends, "transform": there}
    if faint:
        one = {"y": up, "detail": {"field": color}, "color": {"value": GREY}}
        grey = {**_LINE, "opacity": 0.35, "strokeWidth": 1, "tooltip": False}
        yield {"mark": grey, "encoding": one, "transform": [{"filter": f"datum['{faint}']"}]}
    if raw:
        pale = {**_LINE, "opacity": 0.25, "strokeWidth": 1, "tooltip": False}
        yield {"mark": pale, "encoding": {"y": {**up, "field": raw}}, "transform": shown}


def framed() -> dict[str, Any]:
    """Return how charts keep house with their room: the names close under the lines."""
    return {
        "legend": {"labelFontSize": 12, "padding": 0, "offset": 8, "rowPadding": 2},
        "axisX": {"titleFontSize": 12, "labelFontSize": 12},
        "axisY": {"titleFontSize": 12, "labelFontSize": 12},
    }


def _tone(
    color: str, names: list[str] | None, colors: Sequence[str], legend: bool = True
) -> dict[str, Any]:
    wide = 44 + 7 * min(max(map(len, names), default=8), 34) if names else 230
    below = {
        "title": None,
        "orient": "bottom",
        "columns": {"expr": f"max(1, floor(width / {wide}))"},  # as many as the page is wide
        "labelLimit": 260,
        "symbolLimit": 24,
        "encoding": {"symbols": {"opacity": {"value": 1}}},  # whatever layer lies first
        "symbolType": "stroke",
        "symbolStrokeWidth": 3,
    }
    return {
        "field": color,
        "type": "nominal",
        "scale": {"range": list(colors), **({"domain": names} if names else {})},
        "legend": below if legend else None,
    }


def _told(x: Axis, y: Axis, color: str) -> list[dict[str, Any]]:
    """Return what is said of a point under the pointer."""
    at: dict[str, Any] = {"field": x.field, "title": x.title or "x", "format": ",.6~g"}
    if x.time:
        at |= {"type": "temporal", "format": "%Y-%m-%d %H:%M:%S"}
    return [
        {"field": color, "type": "nominal", "title": "line"},
        {**at, "type": at.get("type", "quantitative")},
        {"field": y.field, "type": "quantitative", "title": y.title or "y", "format": ".6~g"},
    ]


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
    data = _drawable(frame, x, y).to_arrow()
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


def _drawable(frame: pl.DataFrame, x: Axis, y: Axis) -> pl.DataFrame:
    """Return the rows as the browser can draw them.

    Times become milliseconds, which no zone of the browser shifts; of whole numbers it would make big ones first. What
    a logarithm does not have breaks the line.
    """
    numbers = [
        pl.col(name).dt.timestamp("us").cast(pl.Float64) / 1000
        if kind.is_temporal()
        else pl.col(name).cast(pl.Float64)
        for name, kind in frame.schema.items()
        if kind.is_integer() or isinstance(kind, pl.Datetime)
    ]
    frame = frame.with_columns(numbers)
    for axis in (x, y):
        if axis.log and not axis.symmetric:
            above = pl.when(pl.col(axis.field) > 0).then(axis.field)
            frame = frame.with_columns(above.alias(axis.field))
    return frame
