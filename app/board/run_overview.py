"""Overview of a run: what went in, what came out, and where it ran."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

import mlrun
from mlrun.errors import MlrunError

from . import address, session
from .run_live import fingerprint, kept
from .run_media import again
from .run_tables import command_line, found, host_table, made_and_used, metric_table, value_table
from .states import trouble
from .words import plain

if TYPE_CHECKING:
    import polars as pl

    from mlrun.view import RunView

__all__ = ["draw"]

_ROWS = 12  # of a table, before it scrolls
_ROW = 35  # pixels
_NARROW = {"name": st.column_config.TextColumn(width="medium")}


def draw(view: RunView) -> None:
    """Draw the room."""
    if view.error:
        _error(view)
    words = st.text_input(
        "Find", key="find", bind="query-params", placeholder="part of a name or value",
        icon=":material/search:", width=320, label_visibility="collapsed", live="0.3s",
    )  # fmt: skip
    left, right = st.columns(2)
    with left:
        _table("Parameters", value_table(view.params), words or "", "mlrun.init(config=…)")
        _table("Results", value_table(view.results), words or "", "run.log_result(…)")
    with right:
        _table("Metrics", metric_table(view), words or "", "run.log({…})")
        if view.labels:
            _table("Labels", value_table(view.labels), words or "", "")
    if view.notes:
        st.subheader("Notes", anchor=False)
        st.code(view.notes, language=None, wrap_lines=True)
    _family(view)
    _lineage(view)
    _origin(view, words or "")


def _error(view: RunView) -> None:
    st.subheader("It failed" if view.state == "error" else "How it ended", anchor=False)
    lines = (view.error or "").strip().splitlines()
    st.error(plain(lines[-1]) if lines else "It says no more.")
    if len(lines) > 1:
        st.code(view.error, language="python", wrap_lines=True)


def _table(title: str, frame: pl.DataFrame, words: str, hint: str) -> None:
    st.subheader(title, anchor=False)
    shown = found(frame, words)
    if frame.is_empty():
        st.caption(f"None. They come by `{hint}`." if hint else "None.")
        return
    if shown.is_empty():
        st.caption(f"None of {frame.height} holds this.")
        return
    st.dataframe(
        shown, hide_index=True, key=f"_overview_{title}", alt=f"{title} of the run",
        height=_ROW * (1 + min(shown.height, _ROWS)) + 3, column_config=_NARROW,
    )  # fmt: skip
    if shown.height < frame.height:
        st.caption(f"{shown.height} of {frame.height}")


def _family(view: RunView) -> None:
    parent = view.record["parent"]
    if not parent:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        number = view.record["iteration"]
        st.text("Part of another run" if number is None else f"Iteration {number} of another run")
        if st.button("Open its parent", key="_parent", icon=":material/arrow_upward:"):
            address.go("run", id=parent)


def _lineage(view: RunView) -> None:
    frame = kept("lineage", (*fingerprint(view), again(view)), view.lineage)
    if frame.is_empty():
        return
    st.subheader("Made and used", anchor=False)
    shown = made_and_used(frame)
    st.dataframe(
        shown, hide_index=True, key="_overview_lineage", height=_ROW * (1 + min(shown.height, _ROWS)) + 3,
        alt="Artifacts that the run made and used",
        column_config={"size": st.column_config.NumberColumn(format="bytes")},
    )  # fmt: skip
    used = frame.filter(frame["role"] == "input").unique("uri", maintain_order=True)
    with st.container(horizontal=True):
        for number, row in enumerate(used.head(6).to_dicts()):
            label = f"Who made {plain(row['key'])} v{row['version']}"
            if st.button(label, key=f"_maker_{number}", type="tertiary"):
                _open_maker(row)


def _open_maker(row: dict[str, Any]) -> None:
    made = mlrun.artifacts(row["project"], store=session.store())
    makers = made.filter((made["key"] == row["key"]) & (made["version"] == row["version"]))
    if makers.is_empty():
        st.caption("No run that is here made it.")
        return
    address.go("run", id=makers["run_id"][0])


def _origin(view: RunView, words: str) -> None:
    st.subheader("Where it ran", anchor=False)
    if command := command_line(view.provenance):
        st.code(command, language="bash", wrap_lines=True)
    shown = found(host_table(view), words)
    if shown.height:
        st.dataframe(
            shown, hide_index=True, key="_overview_origin", alt="Host, code and surroundings",
            height=_ROW * (1 + shown.height) + 3,
        )  # fmt: skip
    packages = view.provenance.get("packages")
    if not isinstance(packages, dict) or not packages.get("sha256"):
        return
    if st.toggle(f"{packages.get('count', '')} Python packages", key="_packages"):
        _packages(view, str(packages["sha256"]))


def _packages(view: RunView, sha256: str) -> None:
    def ask() -> list[str]:
        with view.store.objects.open(sha256) as file:
            return [str(p) for p in json.loads(file.read())]

    try:
        named = kept("packages", (sha256,), ask)
    except (MlrunError, ValueError) as error:
        trouble(error)
        return
    st.code("\n".join(named), language=None, height=300)
