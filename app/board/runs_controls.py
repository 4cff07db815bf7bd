"""How the runs table is shown: its order, its columns, pinned ones, the curve, which kinds of runs, rows of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from mlrun.errors import WhereError
from mlrun.where import parse_order, to_text

from . import address
from .runs_filter import first_page
from .runs_question import NEWEST, automatic

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Look", "controls", "wanted_order"]

SIZES = (25, 50, 100, 200)
NO_CURVE = "none"
_LIKELY = ("loss", "train/loss", "train_loss", "val/loss", "accuracy", "acc", "reward")
_DOWN, _UP = "High to low", "Low to high"


@dataclass(frozen=True)
class Look:
    """What was chosen.

    Attributes:
        columns: names in the language of `where`.
        pinned: titles of those that stay in sight.
        metric: whose curve is shown; empty for none.
        children: also iterations, retries and steps.
        archived: also archived runs.
        size: rows of a page.
    """

    columns: tuple[str, ...]
    pinned: tuple[str, ...]
    metric: str
    children: bool
    archived: bool
    size: int


def wanted_order() -> str:
    """Return the order of the address."""
    return address.text("order") or NEWEST


def controls(sampled: pl.DataFrame, titles: dict[str, str], project: str) -> Look:
    """Draw them."""
    metrics = [c.removeprefix("metrics.") for c in sampled.columns if c.startswith("metrics.")]
    _order(titles)
    with st.popover("Columns", icon=":material/view_column:"):
        chosen = st.multiselect(
            "Columns", list(titles), key="cols", bind="query-params",
            format_func=lambda text: titles.get(text, text), placeholder="Automatic",
        )  # fmt: skip
        columns = tuple(chosen) or automatic(sampled, project)
        pinned = st.multiselect(
            "Pinned beside the name", list(columns), key="pin", bind="query-params",
            format_func=lambda text: titles.get(text, text), placeholder="None",
        )  # fmt: skip
        metric = _curve(metrics)
        size = st.selectbox(
            "Rows of a page", SIZES, index=1, key="size", bind="query-params", on_change=first_page
        )
    children = st.toggle(
        "Children", key="children", bind="query-params", on_change=first_page,
        help="Also iterations, retries and steps of other runs",
    )  # fmt: skip
    archived = st.toggle("Archived", key="archived", bind="query-params", on_change=first_page)
    return Look(
        tuple(dict.fromkeys(("name", *columns))), tuple(titles[p] for p in pinned), metric,
        bool(children), bool(archived), int(size or 50),
    )  # fmt: skip


def _curve(metrics: list[str]) -> str:
    asked = address.text("curve")
    known = list(dict.fromkeys([*metrics, *([asked] if asked not in ("", NO_CURVE) else [])]))
    chosen = st.selectbox(
        "Curve of", ["", NO_CURVE, *known], key="curve", bind="query-params",
        format_func=lambda key: {"": "Automatic", NO_CURVE: "None"}.get(key, key),
    )  # fmt: skip
    if chosen == NO_CURVE or not known:
        return ""
    return chosen or next((key for key in _LIKELY if key in known), known[0])


def _order(titles: dict[str, str]) -> None:
    """Let the order be chosen; it stands in the address as `order_by` takes it."""
    try:
        key = parse_order(wanted_order())[0]
        now, down = to_text(key.name), key.descending
    except (WhereError, IndexError):
        now, down = NEWEST[1:], True
    known = [text for text in titles if text != "tags"]
    if now not in known:
        known.append(now)
    st.session_state["_by"], st.session_state["_down"] = now, _DOWN if down else _UP

    def changed() -> None:
        text = st.session_state["_by"] or NEWEST[1:]
        order = ("-" if st.session_state["_down"] != _UP else "") + text
        address.put(order=None if order == NEWEST else order)
        first_page()

    st.selectbox(
        "Sort by", known, key="_by", format_func=lambda text: titles.get(text, text), on_change=changed,
        label_visibility="collapsed", width=220,
    )  # fmt: skip
    st.segmented_control(
        "Direction", (_DOWN, _UP), key="_down", on_change=changed, label_visibility="collapsed",
        format_func=lambda way: "↓" if way == _DOWN else "↑",
    )  # fmt: skip
