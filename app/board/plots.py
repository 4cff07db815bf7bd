"""Charts with a mark per run: scatter, parallel coordinates, and bars; frames in, specifications out.

Stored names are values and titles only; the columns that Vega reads have names of our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import streamlit as st

from .charts import framed
from .look import COLORS
from .words import short

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bars", "coordinates", "draw", "parallel", "scatter"]

_MANY = 600  # marks above which a canvas draws quicker than SVG
_CATEGORIES = 12
# from low to high; each is seen against light and dark
_SHADES = {"range": ["#4f6fd0", "#1f96a0", "#6f9a2e", "#c98a12", "#df5a2b"]}


def draw(made: tuple[pl.DataFrame, dict[str, Any]], *, key: str, alt: str) -> None:
    """Draw a chart that one of the others has made."""
    frame, spec = made
    st.vega_lite_chart(frame.to_arrow(), spec, width="stretch", key=key, alt=alt)


def scatter(
    frame: pl.DataFrame,
    names: Sequence[str],
    x: str,
    y: str,
    color: str = "",
    *,
    logx: bool = False,
    logy: bool = False,
    height: int = 420,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows and the specification of a scatter plot, a mark per run.

    Args:
        frame: a row per run.
        names: of the runs.
        x: the column along; text has a place per value.
        y: the column up.
        color: the column that colours; empty for none.
        logx: x is logarithmic, what is not above zero is left out.
        logy: y is logarithmic.
        height: pixels.
    """
    told = {"x": x, "y": y, **({"c": color} if color else {})}
    rows = pl.DataFrame({"name": list(names), **{k: frame[v] for k, v in told.items()}})
    rows = _flat(rows).drop_nulls(["x", "y"])
    for axis, log in (("x", logx), ("y", logy)):
        if log and rows.schema[axis].is_numeric():
            rows = rows.filter(pl.col(axis) > 0)
    encoding: dict[str, Any] = {
        "x": _place(rows, "x", x, log=logx),
        "y": _place(rows, "y", y, log=logy),
        "color": _shade(rows, color) if color else {"value": COLORS[0]},
        "tooltip": [
            {"field": "name", "type": "nominal", "title": "run"},
            *({"field": k, "title": v, "type": _kind(rows, k)} for k, v in told.items()),
        ],
    }
    mark = {"type": "point", "filled": True, "size": 70, "opacity": 0.8}
    return rows, _whole({"mark": mark, "encoding": encoding}, rows.height, height)


def coordinates(frame: pl.DataFrame, names: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Return the rows of parallel coordinates: `name, axis, head, place, value`, axis by axis.

    `place` is 0 at the least and 1 at the greatest of an axis; texts are spread in their order. `value` is what is
    said of it, `head` what stands at the axis. Runs that lack one of the columns have no place there.
    """
    parts = []
    for column in columns:
        own = _flat(frame.select(column)).to_series()
        if own.dtype.is_numeric():
            number = own.cast(pl.Float64)
            number = number.set(~number.is_finite().fill_null(value=False), None)
        else:
            number = own.cast(pl.String).rank("dense").cast(pl.Float64)
        low, high = number.min(), number.max()
        wide = (high - low) if isinstance(low, float) and isinstance(high, float) else 0.0
        place = (number - low) / wide if wide > 0 else number * 0 + 0.5
        parts.append(
            pl.DataFrame({
                "name": list(names), "axis": [column] * frame.height,
                "head": [_headed(column, own, number)] * frame.height, "place": place,
                "value": [short(v) for v in own.to_list()],
            }, schema_overrides={"place": pl.Float64, "value": pl.String})
        )  # fmt: skip
    return pl.concat(parts)


def parallel(
    frame: pl.DataFrame,
    names: Sequence[str],
    columns: Sequence[str],
    color: str = "",
    height: int = 380,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows and the specification of parallel coordinates: a line per run through an axis per column.

    Args:
        frame: a row per run.
        names: of the runs, no two alike.
        columns: the axes, from left to right.
        color: the column that colours the lines; empty for none.
        height: pixels.
    """
    rows = coordinates(frame, names, columns)
    if color:
        shades = _flat(pl.DataFrame({"name": list(names), "c": frame[color]}))
        rows = rows.join(shades, on="name", how="left", maintain_order="left")
    heads = rows["head"].unique(maintain_order=True).to_list()
    axis = {
        "labelAngle": 0,
        "title": None,
        "labelLimit": 130,
        "grid": True,
        "domain": False,
        "labelExpr": "split(datum.label, '\\n')",
    }
    along = {"field": "head", "type": "nominal", "sort": heads, "axis": axis,
             "scale": {"padding": 0.3}}  # fmt: skip
    up = {
        "field": "place",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [-0.06, 1.06]},
    }
    tone = _shade(rows, color) if color else {"value": COLORS[0]}
    told = [{"field": n, "type": "nominal", "title": t}
            for n, t in (("name", "run"), ("axis", "of"), ("value", "value"))]  # fmt: skip
    faint = max(0.15, min(0.8, 40 / max(frame.height, 1)))
    line = {"type": "line", "strokeWidth": 1.4, "opacity": faint}
    dot = {"type": "point", "filled": True, "size": 36, "opacity": min(1.0, faint + 0.2)}
    layers = [
        {"mark": line, "encoding": {"detail": {"field": "name"}, "color": tone}},
        {"mark": dot, "encoding": {"color": tone, "tooltip": told}},
    ]
    spec = {"layer": layers, "encoding": {"x": along, "y": up}}
    return rows, _whole(spec, rows.height, height)


def bars(found: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows and the specification of bars of what `importance` has found."""
    rows = found.select("param", "share", "correlation")
    order = rows["param"].to_list()
    told = [
        {"field": "param", "type": "nominal", "title": "parameter"},
        {"field": "share", "type": "quantitative", "title": "share", "format": ".3f"},
        {"field": "correlation", "type": "quantitative", "title": "correlation", "format": "+.3f"},
    ]
    axis = {"title": "share of the variance", "format": ".0%"}
    encoding = {
        "y": {"field": "param", "type": "nominal", "sort": order,
              "axis": {"title": None, "labelLimit": 200}},
        "x": {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": axis},
        "tooltip": told,
    }  # fmt: skip
    mark = {"type": "bar", "color": COLORS[0], "height": 14}
    return rows, _whole(
        {"mark": mark, "encoding": encoding}, rows.height, max(60 + 26 * rows.height, 110)
    )


def _whole(spec: dict[str, Any], marks: int, height: int) -> dict[str, Any]:
    spec = {"height": height, **spec, "config": framed()}
    if marks > _MANY:
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
    return spec


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with columns that Vega knows: numbers, truth as text, durations in seconds, the rest as text."""
    out = []
    for name, kind in rows.schema.items():
        if kind == pl.Duration:
            out.append(pl.col(name).dt.total_seconds(fractional=True))
        elif kind.is_numeric():
            out.append(pl.col(name).cast(pl.Float64))
        elif isinstance(kind, pl.Datetime):
            out.append(pl.col(name).dt.timestamp("us").cast(pl.Float64) / 1e6)
        elif kind.is_nested():
            texts = [None if v is None else str(v) for v in rows[name].to_list()]
            out.append(pl.lit(pl.Series(name, texts, pl.String)))
        else:
            out.append(pl.col(name).cast(pl.String))
    return rows.with_columns(out)


def _kind(rows: pl.DataFrame, field: str) -> str:
    return "quantitative" if rows.schema[field].is_numeric() else "nominal"


def _place(rows: pl.DataFrame, field: str, title: str, *, log: bool) -> dict[str, Any]:
    axis = {"title": title, "labelLimit": 160, "titlePadding": 6}
    if _kind(rows, field) == "nominal":
        return {"field": field, "type": "nominal", "axis": axis}
    scale = {"type": "log"} if log else {"zero": False}
    return {"field": field, "type": "quantitative", "scale": scale, "axis": {**axis, "grid": True}}


def _shade(rows: pl.DataFrame, title: str) -> dict[str, Any]:
    legend = {"title": title, "titleLimit": 200, "orient": "bottom"}
    if _kind(rows, "c") == "quantitative":
        return {"field": "c", "type": "quantitative", "scale": _SHADES, "legend": legend}
    many = rows["c"].n_unique() > _CATEGORIES
    return {
        "field": "c", "type": "nominal", "scale": {"range": COLORS},
        "legend": None if many else {**legend, "columns": 4, "labelLimit": 160},
    }  # fmt: skip


def _headed(column: str, own: pl.Series, place: pl.Series) -> str:
    """Return what stands at an axis: the column's name, and in a second line its ends."""
    name = " ".join(column.split())
    low, high = place.arg_min(), place.arg_max()
    if low is None or high is None:
        return name
    return f"{name}\n{_brief(own[low])} to {_brief(own[high])}"


def _brief(value: Any) -> str:
    told = " ".join(short(value).split())
    return told if len(told) <= 14 else f"{told[:13]}…"
