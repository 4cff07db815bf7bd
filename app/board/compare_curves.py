"""The curves of a comparison: which metrics, along what, how smooth, in which groups; dragging fetches finer points."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

import streamlit as st

from . import address, charts
from .compare_lines import CROWDS, Wanted, drawn
from .compare_points import AXES, Span, asked_points, key_limit, points_each
from .compare_runs import DISTINCT
from .memory import kept
from .states import empty
from .vectorfile import svg
from .words import plain

if TYPE_CHECKING:
    import polars as pl

    from mlrun.store import Store

    from .compare_lines import Drawn
    from .compare_runs import Compared

__all__ = ["curves"]

_FIRST = 4  # charts, until somebody chooses
_TITLES = {"step": "step", "relative": "seconds since the run began", "time": "time, UTC"}
_LIVE_SECONDS = 2.0


def curves(store: Store, found: Compared) -> None:
    """Draw the room."""
    if not found.keys:
        empty(
            "No metrics yet", "What these runs log appears here:", 'run.log({"loss": 0.5}, step=1)'
        )
        return
    every = _LIVE_SECONDS if found.live else None
    st.fragment(_room, run_every=every)(store, found)


def _room(store: Store, found: Compared) -> None:
    keys, x, wanted, logy = _controls(found)
    limit = key_limit(len(found.ids))
    if len(keys) > limit:
        st.caption(f"Of {len(found.ids)} runs at most {limit} metrics are drawn at once.")
        keys = keys[:limit]
    if not keys:
        st.info("Choose a metric.")
        return
    span = Span(address.number("from"), address.number("to"))
    _range(span)
    asked = (store.url, tuple(found.ids), tuple(keys), x, span)
    fresh = _LIVE_SECONDS / 2 if found.live else float("inf")
    points = kept(
        "compare points", asked, fresh, lambda: asked_points(store, found.ids, keys, x, span)
    )
    for key in keys:
        _chart(points.filter(points["key"] == key), key, found, x, wanted, span, logy=logy)
    _say(len(found.ids), len(keys), wanted)


def _controls(found: Compared) -> tuple[list[str], str, Wanted, bool]:
    """Draw what decides how the curves are shown."""
    first = found.keys[: min(_FIRST, key_limit(len(found.ids)))]
    keys = st.multiselect("Metrics", found.keys, default=first, key="keys", bind="query-params")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        along = [*AXES, *(f"metrics.{k}" for k in found.keys)]
        x = st.selectbox("Along", along, key="x", bind="query-params", width=190, on_change=_whole)
        groups = ["", *found.columns("params"), *_facts(found)]
        by = st.selectbox(
            "Group by", groups, key="by", bind="query-params", width=190,
            format_func=lambda name: name or "no groups",
        )  # fmt: skip
        smooth = st.slider(
            "Smoothing", 0.0, 0.99, 0.0, 0.01, key="smooth", bind="query-params", width=190
        )
        logx = st.toggle("Log x", key="logx", bind="query-params")
        logy = st.toggle("Log y", key="logy", bind="query-params")
    crowd, marked = CROWDS[0], list[str]()
    if len(found.ids) > DISTINCT and not by:
        crowd, marked = _crowd(found)
    wanted = Wanted(float(smooth), by or "", crowd, tuple(marked), logx)
    return list(keys), x or AXES[0], wanted, logy


def _crowd(found: Compared) -> tuple[str, list[str]]:
    ids = dict(zip(found.names, found.ids, strict=True))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        crowd = st.segmented_control(
            "The others", CROWDS, default=CROWDS[0], key="crowd", bind="query-params"
        )
        marked = st.multiselect(
            "In colour", found.names, default=found.names[:3], key="mark", bind="query-params",
            max_selections=DISTINCT, width=560,
        )  # fmt: skip
    return crowd or CROWDS[0], [ids[name] for name in marked if name in ids]


def _facts(found: Compared) -> list[str]:
    """Return the columns of the runs themselves that make groups."""
    return [n for n in ("project", "function", "user", "host", "group") if n in found.frame.columns]


def _range(span: Span) -> None:
    if span.ends is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Whole range", on_click=_whole, icon=":material/zoom_out_map:")
            st.caption("Drag over a chart to look closer.")


def _whole() -> None:
    address.put(**{"from": None, "to": None})


def _zoom(low: float, high: float) -> None:
    address.put(**{"from": f"{low:.12g}", "to": f"{high:.12g}"})


def _chart(
    points: pl.DataFrame,
    key: str,
    found: Compared,
    x: str,
    wanted: Wanted,
    span: Span,
    *,
    logy: bool,
) -> None:
    """Draw one metric, with its name and its file."""
    made = drawn(points.drop("key"), found, wanted)
    title = _TITLES.get(x, x)
    with st.container(horizontal=True, vertical_alignment="center"):  # the menu is at the right
        st.subheader(plain(key), anchor=False, width="content")
        if points.height:
            _file(made, key, title, (wanted.logx and x != "time", logy), time=x == "time")
    if not points.height:
        st.caption("No points in this range.")
        return
    mark = crc32(repr((key, x, span, wanted.by)).encode())
    along = charts.Axis("x", title, time=x == "time", log=wanted.logx, span=span.ends)
    charts.lines(
        made.frame, along, charts.Axis("y", "", log=logy), "series",
        key=f"_chart{mark:x}", alt=f"{key} of {len(found.ids)} runs by {title}", on_zoom=_zoom,
        names=made.names, colors=made.colors, **made.look,
    )  # fmt: skip


def _file(made: Drawn, key: str, along: str, log: tuple[bool, bool], *, time: bool) -> None:
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in key)[:60]
    st.download_button(
        "SVG",
        partial(_bytes, made, key, along, log, time=time),
        file_name=f"{name}.svg",
        mime="image/svg+xml",
        key=f"_svg{crc32(key.encode()):x}",
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
    )


def _bytes(made: Drawn, key: str, along: str, log: tuple[bool, bool], *, time: bool) -> bytes:
    return svg(
        made.frame, made.names, made.colors, title=key, along=along, time=time, log=log,
        bands=made.bands,
    ).encode()  # fmt: skip


def _say(runs: int, keys: int, wanted: Wanted) -> None:
    """Say what is drawn, in one line."""
    said = [f"{points_each(runs, keys)} points of each curve at most; drag to look closer."]
    if wanted.by:
        said.append("A line is a group's mean, its band a standard deviation of its runs each way.")
    elif runs > DISTINCT and wanted.crowd == CROWDS[0]:
        said.append("Bands: the middle half and the middle nine tenths of all runs.")
    if wanted.smooth > 0:
        said.append("Smoothed over the points that are drawn; what was logged lies faintly behind.")
    st.caption(" ".join(said))
