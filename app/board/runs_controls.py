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
AUTOMATIC, NO_CURVE = "automatic", "none"
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
        # the address holds what the options are called, so they are called by what they are
        chosen = st.multiselect(
            "Columns",
            list(titles.values()),
            key="cols",
            bind="query-params",
            placeholder="Automatic",
        )
        texts = {title: text for text, title in titles.items()}
        columns = tuple(texts[title] for title in chosen) or automatic(sampled, project)
        pinned = st.multiselect(
            "Pinned beside the name", [titles[text] for text in columns], key="pin",
            bind="query-params", placeholder="None",
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
        tuple(dict.fromkeys(("name", *columns))), tuple(pinned), metric,
        bool(children), bool(archived), int(size or 50),
    )  # fmt: skip


def _curve(metrics: list[str]) -> str:
    asked = address.text("curve")
    known = dict.fromkeys([*metrics, *([asked] if asked else [])])
    keys = [key for key in known if key not in (AUTOMATIC, NO_CURVE)]
    chosen = st.selectbox(
        "Curve of", [AUTOMATIC, NO_CURVE, *keys], key="curve", bind="query-params"
    )
    if chosen == NO_CURVE or not keys:
        return ""
    usual = next((key for key in _LIKELY if key in keys), keys[0])
    return usual if chosen in (None, AUTOMATIC) else str(chosen)


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
