"""An answer as a chart: which of its columns can be drawn, and the Vega-Lite specification of one choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from .look import COLORS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KINDS", "choices", "figure"]

KINDS = ("line", "point", "bar", "area")
_MOST_SERIES = 40  # more than these are drawn as one more colour each, and told apart by nobody
_CANVAS = 2_000


def choices(frame: pl.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Return the columns that can be drawn along x, up y, and as colours."""
    plain = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    up = [n for n in plain if frame.schema[n].is_numeric() or frame.schema[n] == pl.Duration]
    color = [
        n for n in plain
        if frame.schema[n] in (pl.String, pl.Boolean) or frame.schema[n].is_integer()
    ]  # fmt: skip
    return plain, up, color


def figure(
    frame: pl.DataFrame, kind: str, x: str, y: str, color: str = ""
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows of a chart, as `x, y, series`, and its specification.

    Stored names are titles only: fields have names of our own, because Vega gives dots and brackets a meaning.
    """
    series = pl.col(color).cast(pl.String).fill_null("none") if color else pl.lit(y)
    drawn = frame.select(
        _value(frame, x).alias("x"), _value(frame, y).alias("y"), series.alias("series")
    )
    if color and drawn["series"].n_unique() > _MOST_SERIES:
        often = drawn["series"].value_counts(sort=True)["series"].head(_MOST_SERIES - 1)
        kept = pl.col("series").is_in(often.to_list())
        drawn = drawn.with_columns(pl.when(kept).then("series").otherwise(pl.lit("others")))
    mark: dict[str, Any] = {"type": kind, "tooltip": True}
    if kind == "line":
        mark |= {"strokeWidth": 1.6, "point": drawn.height <= 50}
    if kind == "area":
        mark["opacity"] = 0.6
    named = sorted(drawn["series"].unique().to_list())
    return drawn, _spec(drawn, mark, x, y, named if color else [])


def _spec(
    drawn: pl.DataFrame, mark: dict[str, Any], x: str, y: str, named: Sequence[str]
) -> dict[str, Any]:
    stacked = mark["type"] in ("bar", "area")
    tone: dict[str, Any] = {"value": COLORS[0]}
    if named:
        tone = {
            "field": "series", "type": "nominal", "scale": {"domain": list(named), "range": COLORS},
            "legend": {"title": None, "orient": "bottom", "columns": 4, "labelLimit": 240},
        }  # fmt: skip
    spec: dict[str, Any] = {
        "height": 380,
        "mark": mark,
        "encoding": {
            "x": _axis(drawn, "x", x, zero=False),
            "y": _axis(drawn, "y", y, zero=stacked),
            "color": tone,
        },
    }
    if drawn.height > _CANVAS:
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
    return spec


def _axis(drawn: pl.DataFrame, field: str, title: str, *, zero: bool) -> dict[str, Any]:
    kind = drawn.schema[field]
    axis = {"title": title, "labelLimit": 160}
    if kind.is_temporal():
        return {"field": field, "type": "temporal", "scale": {"type": "utc"}, "axis": axis}
    if kind.is_numeric():
        return {"field": field, "type": "quantitative", "scale": {"zero": zero}, "axis": axis}
    return {"field": field, "type": "nominal", "sort": None, "axis": axis}


def _value(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Return a column as Vega draws it: durations in seconds."""
    column = pl.col(name)
    return column.dt.total_seconds(fractional=True) if frame.schema[name] == pl.Duration else column
