"""One version of an artifact: what it is, its names, the others of its key, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import streamlit as st

import mlrun
from mlrun.content.naming import LATEST, artifact_uri
from mlrun.workflows.picture import svg

from . import address, session
from .artifacts_aliases import aliases_room
from .artifacts_diff import facts, metadata_diff, metrics_diff, schema_diff, stats_diff
from .artifacts_find import MOST_VERSIONS, versions_of
from .artifacts_lineage import MOST_RUNS, graph_of, runs_of
from .memory import kept
from .previews import download, preview
from .words import ago, bytes_of, plain

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem

__all__ = ["version_room"]

_PREVIEW, _META, _LINEAGE, _VERSIONS, _COMPARE = (
    "Preview", "Metadata", "Lineage", "Versions", "Compare",
)  # fmt: skip
_FRESH = 10.0  # seconds
_TIME = "YYYY-MM-DD HH:mm:ss"


def version_room(uri: str) -> None:
    """Draw a version.

    Args:
        uri: its name, as `get_artifact` takes it.

    Raises:
        NotFound: there is none of that name.
    """
    store = session.store()
    if st.button("All artifacts", key="_back", icon=":material/arrow_back:", type="tertiary"):
        address.go("artifacts", project=address.text("project"))
    item = kept("artifact", (store.url, uri), _FRESH, lambda: mlrun.get_artifact(uri, store=store))
    versions = kept(
        "versions", (store.url, item.project, item.key), _FRESH,
        lambda: versions_of(store, item.project, item.key),
    )  # fmt: skip
    _head(item, versions)
    rooms = [_PREVIEW, _META, _LINEAGE, _VERSIONS]
    if versions.height > 1:
        rooms.append(_COMPARE)
    if st.session_state.get("see") not in (None, *rooms):
        del st.session_state["see"]
    room = st.segmented_control(
        "Room", rooms, default=_PREVIEW, key="see", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    match room:
        case "Metadata":
            _metadata(item)
        case "Lineage":
            _lineage(item)
        case "Versions":
            _versions(item, versions)
        case "Compare":
            _compare(item, versions)
        case _:
            preview(item)
            download(item, key="version")


def _head(item: DataItem, versions: pl.DataFrame) -> None:
    st.title(f"{plain(item.key)} v{item.version}", anchor=False)
    row = versions.filter(pl.col("version") == item.version)
    names = row["aliases"].to_list()[0] if row.height else []
    with st.container(horizontal=True, vertical_alignment="center"):
        for name in names:
            st.badge(plain(name), color="gray" if name == LATEST else "green")
        size = bytes_of(item.size) or "elsewhere"
        st.caption(f"{plain(item.type)} of {plain(item.project)} · {size} · {ago(item.created_at)}")
        if session.may("editor", item.project):
            aliases_room(item, versions)
    if row.height:
        maker = row.row(0, named=True)
        made_by = plain(maker["run"] or maker["run_id"][:8])
        if st.button(f"Made by {made_by}", key="_maker", icon=":material/show_chart:"):
            address.go("run", id=maker["run_id"])
    st.code(f'mlrun.get_artifact("{item.uri}")', language="python")


def _metadata(item: DataItem) -> None:
    st.dataframe(facts(item.meta), hide_index=True, alt="Metadata")
    st.caption(f"SHA-256 {item.sha256}")
    for what, name in (("Metrics", "metrics"), ("Columns", "schema"), ("Statistics", "stats")):
        part = item.meta.get(name)
        if isinstance(part, dict) and part:
            st.subheader(what, anchor=False)
            rows = [
                {"name": str(k), **(v if isinstance(v, dict) else {"value": v})}
                for k, v in part.items()
            ]
            st.dataframe(_texts(rows), hide_index=True, alt=what)
        elif isinstance(part, list) and part:
            st.subheader(what, anchor=False)
            st.dataframe(
                _texts([c for c in part if isinstance(c, dict)]), hide_index=True, alt=what
            )


def _texts(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Return rows whose values differ in type, as text."""
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [[None if row.get(n) is None else str(row[n]) for n in names] for row in rows]
    return pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String), orient="row")


def _lineage(item: DataItem) -> None:
    store = session.store()

    def asked() -> tuple[pl.DataFrame, str]:
        runs = runs_of(store, item)
        return runs, svg(graph_of(store, item, runs))

    runs, picture = kept("lineage", (store.url, item.uri), _FRESH, asked)
    made, used = (runs.filter(pl.col("role") == role)["run_id"].n_unique() for role in ("made", "used"))  # fmt: skip
    alt = f"Made by {made} and used by {used} runs, which the table lists"
    with st.container(horizontal=True, horizontal_alignment="left"):
        st.image(picture, alt=alt)
    if max(made, used) > MOST_RUNS:
        st.caption(f"{MOST_RUNS} runs of each side are drawn.")
    picked = st.dataframe(
        runs, hide_index=True, on_select="rerun", selection_mode="single-row", key="_lineage", alt=alt,
        column_config={"time": st.column_config.DatetimeColumn("time, UTC", format=_TIME)},
    )  # fmt: skip
    st.caption("Choose a row to open its run.")
    rows = picked["selection"]["rows"]
    if rows and rows[0] < runs.height:
        address.go("run", id=runs["run_id"][rows[0]])


def _versions(item: DataItem, versions: pl.DataFrame) -> None:
    picked = st.dataframe(
        versions.select("version", "aliases", "type", "size", "run", "created_at"), hide_index=True,
        on_select="rerun", selection_mode="single-row", key="_versions", alt="Versions, the newest first",
        column_config={
            "version": st.column_config.NumberColumn(format="v%d"),
            "size": st.column_config.NumberColumn(format="bytes"),
            "created_at": st.column_config.DatetimeColumn("made, UTC", format=_TIME),
        },
    )  # fmt: skip
    st.caption(
        f"The {MOST_VERSIONS} newest versions."
        if versions.height >= MOST_VERSIONS
        else "Choose a row to open it."
    )
    rows = picked["selection"]["rows"]
    if rows and rows[0] < versions.height:
        chosen = int(versions["version"][rows[0]])
        if chosen != item.version:
            address.go("artifacts", artifact=_uri(item, chosen), project=address.text("project"))


def _compare(item: DataItem, versions: pl.DataFrame) -> None:
    others = [v for v in versions["version"].to_list() if v != item.version]
    before = next((v for v in others if v < item.version), others[0])
    if st.session_state.get("with") not in (None, *others):
        del st.session_state["with"]
    chosen = st.selectbox(
        "Compare with", others, index=others.index(before), key="with", bind="query-params",
        format_func=lambda v: f"v{v}", width=200,
    )  # fmt: skip
    store = session.store()
    uri = _uri(item, chosen)
    other = kept("other", (store.url, uri), 60.0, lambda: mlrun.get_artifact(uri, store=store))
    if other.sha256 == item.sha256:
        st.caption("Both have the same bytes.")
    sizes = {"old": f"v{chosen}", "new": f"v{item.version}"}
    tables = (
        ("Metrics", metrics_diff(other.meta, item.meta), "No metrics were logged with them."),
        ("Metadata", metadata_diff(other.meta, item.meta), "Their metadata agree."),
        ("Columns", schema_diff(other.meta, item.meta), "Their columns agree."),
        ("Statistics", stats_diff(other.meta, item.meta), "Their statistics agree."),
    )
    tabular = bool(item.meta.get("schema") or other.meta.get("schema"))
    for what, frame, same in tables:
        if frame.is_empty() and (what == "Metrics" or (what != "Metadata" and not tabular)):
            continue
        st.subheader(what, anchor=False)
        if frame.is_empty():
            st.caption(same)
        else:
            st.dataframe(
                frame, hide_index=True, column_config=dict(sizes), alt=f"{what} that differ"
            )


def _uri(item: DataItem, version: int) -> str:
    return artifact_uri(item.project, item.key, version)
