"""Charts of a run: every metric by its prefix, one chart each, all over the same range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

import mlrun

from . import address, charts, session
from .run_live import fingerprint, goes_on, kept
from .run_media import media
from .run_series import AXES, chart_frame, grouped, matching, span_of
from .states import empty
from .words import plain, short

if TYPE_CHECKING:
    import polars as pl

    from mlrun.view import RunView

    from .run_series import Span

__all__ = ["Grid", "draw", "forget_range", "grid"]

POINTS = 1_000  # of a chart: more than it has pixels across
_MOVING = 500  # while it is drawn anew with every point: still the least and greatest of every pixel or two
PAGE = 12  # charts
_WIDE = 3  # charts side by side


class Grid:
    """How the charts of a room are asked for: read from the address, through its widgets."""

    def __init__(
        self, keys: list[str], *, axes: tuple[str, ...] = tuple(AXES), live: bool = False
    ) -> None:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            wanted = st.text_input(
                "Metrics", key="keys", bind="query-params", width=260, live="0.3s",
                placeholder="part of a name, or val/*", icon=":material/search:",
            )  # fmt: skip
            self.axis: str = st.segmented_control(
                "x", list(axes), key="x", bind="query-params", default=axes[0], required=True,
                on_change=forget_range,
            ) or axes[0]  # fmt: skip
            self.smooth: float = st.slider(
                "Smoothing", 0.0, 0.99, 0.0, 0.01, key="smooth", bind="query-params", width=200
            )
            self.log: bool = st.toggle("Log y", key="log", bind="query-params")
        self.span: Span = span_of(address.number("from"), address.number("to"))
        self.keys = matching(keys, wanted or "")
        self.of = len(keys)
        self.live = live

    def page(self) -> list[str]:
        """Return the keys of the page that is shown; the widget that turns it is drawn here."""
        pages = max(1, -(-len(self.keys) // PAGE))
        if pages == 1:
            return self.keys
        with st.container(horizontal=True, vertical_alignment="center"):
            number = st.pagination(pages, key="page", bind="query-params")
            st.caption(f"{len(self.keys)} of {self.of} metrics, {PAGE} on a page")
        return self.keys[(number - 1) * PAGE : number * PAGE]

    def asked(self) -> dict[str, Any]:
        """Return the arguments of `mlrun.metrics` beside runs and keys."""
        start, end = (self.span.bound(self.axis, v) for v in (self.span.start, self.span.end))
        points = _MOVING if self.live else POINTS
        return {"x": self.axis, "points": points, "start": start, "end": end}


def draw(view: RunView) -> None:
    """Draw the room."""
    keys = view.summaries["key"].to_list()
    if keys:
        chosen = Grid(keys, live=goes_on(view))
        page = chosen.page()
        question = (fingerprint(view), tuple(page), *chosen.asked().values())
        points = kept("points", question, lambda: _points(view.id, page, chosen))
        last = dict(zip(view.summaries["key"], view.summaries["last_step"], strict=True))
        told = {k: f"last {short(view.summary[k])} at step {last[k]}" for k in page}
        grid(chosen, page, points, told)
    elif goes_on(view):
        empty(
            "No metrics yet",
            "They appear here as soon as the run logs them.",
            'run.log({"loss": 0.5})',
        )
    else:
        empty("No metrics", "This run logged none. A run logs them so:", 'run.log({"loss": 0.5})')
    media(view)


def _points(run_id: str, keys: list[str], chosen: Grid) -> pl.DataFrame:
    """Ask for all charts of the page at once; a name is never taken for a pattern, since all are known."""
    return mlrun.metrics(run_id, keys=keys, store=session.store(), **chosen.asked())


def grid(chosen: Grid, page: list[str], points: pl.DataFrame, told: dict[str, str]) -> None:
    """Draw the charts of a page, by prefix.

    Args:
        chosen: how.
        page: their keys.
        points: of all of them.
        told: what is said under the name of each.
    """
    _range(chosen)
    if not page:
        empty(
            "No metric of that name",
            f"{chosen.of} are here under other names; empty the field to see them.",
        )
        return
    for prefix, keys in grouped(page).items():
        if prefix:
            st.subheader(plain(prefix), anchor=False)
        for begin in range(0, len(keys), _WIDE):
            row = keys[begin : begin + _WIDE]
            for column, key in zip(st.columns(_WIDE), row, strict=False):
                with column:
                    st.markdown(plain(key))
                    _chart(chosen, key, points)
                    st.caption(plain(told.get(key, "")))


def _range(chosen: Grid) -> None:
    if chosen.span.start is None and chosen.span.end is None:
        st.caption("Drag over a chart to look closer: all charts follow.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(_range_text(chosen))
        if st.button(
            "Whole range", key="_whole", icon=":material/zoom_out_map:", on_click=forget_range
        ):
            return


def _range_text(chosen: Grid) -> str:
    ends = [chosen.span.bound(chosen.axis, v) for v in (chosen.span.start, chosen.span.end)]
    said = [
        "…" if e is None else short(e) if isinstance(e, float) else e.strftime("%Y-%m-%d %H:%M:%S")
        for e in ends
    ]
    return f"{chosen.axis} from {said[0]} to {said[1]}"


def forget_range() -> None:
    """Show everything again."""
    address.put(**{"from": None, "to": None})


def _zoom(low: float, high: float) -> None:
    address.put(
        **{
            "from": f"{low:.9g}" if abs(low) < 1e9 else int(low),
            "to": f"{high:.9g}" if abs(high) < 1e9 else int(high),
        }
    )


def _chart(chosen: Grid, key: str, points: pl.DataFrame) -> None:
    frame = chart_frame(points, key, chosen.axis, chosen.smooth, chosen.log)
    if frame.is_empty():
        st.caption(
            "Nothing in this range." if not chosen.log else "Nothing above zero in this range."
        )
        return
    span = f"{chosen.span.start}-{chosen.span.end}"
    charts.lines(
        frame,
        charts.Axis("x", AXES[chosen.axis], time=chosen.axis == "time"),
        charts.Axis("y", log=chosen.log),
        "series",
        key=f"_chart_{chosen.axis}_{span}_{key}",
        alt=f"{key} by {AXES[chosen.axis]}, {frame.height} points",
        on_zoom=_zoom,
        raw="raw" if chosen.smooth > 0 else "",
        height=200,
        legend=False,
        small=True,
    )
