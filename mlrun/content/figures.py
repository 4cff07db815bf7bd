"""Figures as artifacts, in the one form that serves best: matplotlib as PNG, Plotly and Altair as their JSON.

A PNG is looked at everywhere and costs little; the JSON of Plotly and Vega stays interactive and loses nothing. None of
the libraries is imported: a figure is known by what its class offers.
"""

from __future__ import annotations

import io
from typing import Any

from mlrun.content.bodies import Body, library

__all__ = ["encode", "is_figure"]


def is_figure(value: Any) -> bool:
    """Whether this is a figure of matplotlib (also an Axes, a seaborn grid, `pyplot`), Plotly or Altair."""
    home = library(value)
    if home == "plotly":
        return hasattr(value, "to_plotly_json") and hasattr(value, "to_json")
    if home == "altair":
        return hasattr(value, "to_json") and hasattr(value, "mark_point")
    if home == "module":
        return False
    return home in {"matplotlib", "seaborn"} and _matplotlib(value) is not None


def encode(figure: Any) -> Body:
    """Encode a figure.

    Raises:
        TypeError: it is no figure.
    """
    if library(figure) == "plotly" and hasattr(figure, "to_json"):
        return Body(figure.to_json().encode(), "plotly", "figure")
    if library(figure) == "altair" and hasattr(figure, "to_json"):
        return Body(figure.to_json().encode(), "vega-lite", "figure")
    drawn = _matplotlib(figure)
    if drawn is None:
        raise TypeError(f"{type(figure).__name__} is no figure of matplotlib, Plotly or Altair")
    buffer = io.BytesIO()
    # without the library's version in the file, the same picture is the same bytes
    drawn.savefig(buffer, format="png", metadata={"Software": None})
    width, height = (round(side * drawn.dpi) for side in drawn.get_size_inches())
    return Body(buffer.getvalue(), "png", "figure", {"width": width, "height": height})


def _matplotlib(value: Any) -> Any:
    """Return the matplotlib figure in a figure, an Axes, a seaborn grid, an artist or `pyplot` itself."""
    if getattr(value, "__name__", "") == "matplotlib.pyplot":
        return value.gcf()
    for found in (value, getattr(value, "figure", None), getattr(value, "fig", None)):
        if hasattr(found, "savefig") and hasattr(found, "get_size_inches"):
            return found
    return None
