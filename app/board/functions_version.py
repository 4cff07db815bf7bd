"""One function: its versions, the code and needs of one, what differs between two, and the runs of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import streamlit as st

import mlrun
from mlrun.functions.store import get_spec
from mlrun.functions.uri import FunctionName

from . import address, session
from .functions_diff import code_of, diff, needs_of
from .memory import kept
from .states import empty
from .words import ago, plain

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["function_room"]

_CODE, _NEEDS, _DIFF, _VERSIONS, _RUNS = "Code", "Needs", "Changes", "Versions", "Runs"
_SHORT = 12  # digits of a hash
_ROWS = 50


def function_room(versions: pl.DataFrame, project: str, name: str) -> None:
    """Draw a function.

    Args:
        versions: of it, as `list_versions` returns them, the newest first.
        project: its.
        name: its.
    """
    if st.button("All functions", key="_back", icon=":material/arrow_back:", type="tertiary"):
        address.go("functions", project=project)
    st.title(plain(name), anchor=False)
    if versions.is_empty():
        empty("No version of it is stored", f"Project {project!r} has no function of this name.")
        return
    chosen = _choose(versions)
    row = versions.filter(pl.col("hash").str.starts_with(chosen)).row(0, named=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        for tag in row["tags"]:
            st.badge(plain(tag), color="gray")
        handler = f" · calls {plain(row['handler'])}" if row["handler"] else ""
        st.caption(f"{plain(row['kind'] or 'job')}{handler} · stored {ago(row['created_at'])}")
    if row["description"]:
        st.text(row["description"])
    rooms = [_CODE, _NEEDS, *([_DIFF, _VERSIONS] if versions.height > 1 else []), _RUNS]
    if st.session_state.get("see") not in (None, *rooms):
        del st.session_state["see"]
    room = st.segmented_control(
        "Room", rooms, default=_CODE, key="see", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    exact = FunctionName(project, name, "", row["hash"])
    if room == _RUNS:
        _runs(exact)
    elif room == _DIFF:
        _changes(versions, exact)
    elif room == _VERSIONS:
        _versions(versions)
    else:
        spec = _spec(exact)
        _code(spec, exact) if room == _CODE else _needs(spec)


def _choose(versions: pl.DataFrame) -> str:
    """Let a version be chosen; it is in the address by the beginning of its hash."""
    hashes = [whole[:_SHORT] for whole in versions["hash"]]
    if st.session_state.get("version") not in (None, *hashes):
        del st.session_state["version"]
    chosen: str = st.selectbox(
        f"Version, of {versions.height}", hashes, key="version", bind="query-params", width=240
    )
    return chosen


def _spec(name: FunctionName) -> dict[str, Any]:
    store = session.store()
    return kept("spec", (store.url, name), 3600.0, lambda: get_spec(store, name))


def _code(spec: dict[str, Any], name: FunctionName) -> None:
    text, language = code_of(spec)
    filename = (spec.get("code") or {}).get("filename")
    if filename:
        st.caption(plain(filename))
    if language:
        st.code(text, language=language, line_numbers=True)
    else:
        st.caption(plain(text))
    with st.expander("The same in Python"):
        st.code(f"import mlrun\n\nfn = mlrun.import_function({str(name)!r})\nfn.run()")


def _needs(spec: dict[str, Any]) -> None:
    rows = list(needs_of(spec).items())
    frame = pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")
    st.dataframe(frame, hide_index=True, alt="What it is and needs")


def _versions(versions: pl.DataFrame) -> None:
    st.dataframe(
        versions.select(pl.col("hash").str.head(_SHORT), "tags", "kind", "handler", "created_at"),
        hide_index=True, alt="Versions, the newest first",
        column_config={
            "created_at": st.column_config.DatetimeColumn("stored, UTC", format="YYYY-MM-DD HH:mm:ss"),
        },
    )  # fmt: skip


def _changes(versions: pl.DataFrame, exact: FunctionName) -> None:
    hashes = versions["hash"].to_list()
    at = hashes.index(exact.hash)
    others = [h[:_SHORT] for h in hashes if h != exact.hash]
    if st.session_state.get("with") not in (None, *others):
        del st.session_state["with"]
    chosen = st.selectbox(
        "Since", others, index=min(at, len(others) - 1), key="with", bind="query-params", width=480
    )
    store = session.store()
    whole = next(h for h in hashes if h[:_SHORT] == chosen)
    before = exact._replace(hash=whole)
    old = kept("spec before", (store.url, before), 3600.0, lambda: get_spec(store, before))
    text = diff(old, _spec(exact), (chosen, exact.hash[:_SHORT]))
    if text:
        st.code(text, language="diff")
    else:
        st.caption("Code and needs agree; the two differ in what is not shown.")


def _runs(name: FunctionName) -> None:
    store = session.store()
    where = "function = '" + str(name).replace("'", "''") + "'"
    found = kept("runs of it", (store.url, where), 5.0, lambda: _found(store, name.project, where))
    if found.is_empty():
        st.caption("No run of this version.")
        return
    picked = st.dataframe(
        found.drop("run_id"), hide_index=True, on_select="rerun", selection_mode="single-row",
        key="_runs", alt="Runs of this version, the newest first",
        column_config={
            "started_at": st.column_config.DatetimeColumn("started, UTC", format="YYYY-MM-DD HH:mm:ss"),
        },
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    if rows and rows[0] < found.height:
        address.go("run", id=found["run_id"][rows[0]])
    if st.button("Open them in Runs", key="_all_runs", icon=":material/table_rows:"):
        address.go("runs", where=where, project=name.project)


def _found(store: Store, project: str, where: str) -> pl.DataFrame:
    columns = ["run_id", "name", "state", "started_at", "duration", "user", "host"]
    return mlrun.runs(
        project, where=where, limit=_ROWS, columns=columns, children=True, store=store
    )
