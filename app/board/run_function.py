"""The function that a run performed: the exact version, its code, and what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import streamlit as st

from mlrun.errors import MlrunError, NotFound
from mlrun.functions.store import get_spec, list_versions
from mlrun.functions.uri import FunctionName

from . import address
from .run_header import badge_text
from .run_live import kept
from .run_tables import text_of
from .states import empty, trouble
from .words import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.view import RunView

__all__ = ["draw", "spec_table"]

_NEEDS = (
    "kind", "handler", "description", "image", "requirements", "resources", "replicas", "env", "secrets",
    "node_selector", "retry", "state_thresholds", "time_limit", "source", "workdir", "labels",
)  # fmt: skip


def spec_table(spec: Mapping[str, Any]) -> pl.DataFrame:
    """Return `name, value` of what a function is and needs; of secrets the references, which are all that is stored."""
    rows = [(name.replace("_", " "), text_of(spec[name])) for name in _NEEDS if spec.get(name)]
    return pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")


def draw(view: RunView) -> None:
    """Draw the room."""
    uri = view.record["function"]
    if not uri:
        empty(
            "No function was run",
            "This run is a script's own. Runs of functions show their exact version and its code here.",
            'mlrun.new_function("train", handler=train).run(params={"lr": 0.1})',
        )  # fmt: skip
        return
    name = FunctionName.parse(uri)
    st.subheader(plain(name.name), anchor=False)
    try:
        spec, tags = kept("function", (uri,), lambda: _found(view, name))
    except NotFound as error:
        st.caption(plain(uri))
        trouble(error)
        return
    except MlrunError as error:
        trouble(error)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for tag in tags[:20]:
            st.badge(badge_text(tag), color="gray")
        if st.button("All versions", key="_to_functions", icon=":material/function:"):
            address.go("functions", name=name.name, project=name.project)
    st.caption(f"version {plain(name.hash)}")
    st.dataframe(
        spec_table(spec), hide_index=True, key="_spec", alt="What the function is and needs"
    )
    _code(spec.get("code") or {})


def _found(view: RunView, name: FunctionName) -> tuple[dict[str, Any], list[str]]:
    spec = get_spec(view.store, name)
    versions = list_versions(view.store, name.project, name.name)
    own = versions.filter(pl.col("hash") == name.hash)["tags"].to_list()
    return spec, own[0] if own else []


def _code(code: Mapping[str, Any]) -> None:
    st.subheader("Code", anchor=False)
    kind = code.get("kind")
    if origin := code.get("filename") or code.get("path"):
        st.text(str(origin))
    if code.get("text"):
        st.code(str(code["text"]), language="python", line_numbers=True)
    elif kind == "module":
        st.text(f"It is imported from {code.get('name')}, so that its text is not stored.")
    elif kind == "command":
        st.code(text_of([code.get("path"), *(code.get("args") or [])]), language="json")
    else:
        st.text(
            "It was handed over as an object; its text is not stored, and what is stored is never loaded here."
        )
