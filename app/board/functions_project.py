"""A project's document, as `project.yaml` holds it."""

from __future__ import annotations

from typing import Any

import polars as pl
import streamlit as st

from mlrun.project.document import ProjectDocument
from mlrun.project.records import stored_document
from mlrun.redact import redact_mapping, redact_text

from . import session
from .memory import kept
from .states import empty
from .words import plain

__all__ = ["project_room"]

_FRESH = 30.0  # seconds
_FIRST = """project = mlrun.get_or_create_project("first", context="./")
project.set_function("trainer.py", name="train", handler="train")
project.save()"""


def project_room(project: str) -> None:
    """Draw what a project says of itself."""
    store = session.store()
    found = kept("document", (store.url, project), _FRESH, lambda: stored_document(store, project))
    if found is None:
        empty(
            "This project has runs only",
            "A saved project has functions and workflows, too:",
            _FIRST,
        )
        return
    spec: dict[str, Any] = found.get("spec") or {}
    if spec.get("description"):
        st.text(spec["description"])
    params = redact_mapping(spec.get("params") or {})
    if params:
        st.subheader("Parameters", anchor=False)
        rows = [(str(k), str(v)) for k, v in params.items()]
        frame = pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")
        st.dataframe(frame, hide_index=True, alt="Parameters of the project")
    workflows = [w for w in spec.get("workflows") or [] if isinstance(w, dict)]
    if workflows:
        st.subheader("Workflows", anchor=False)
        for entry in workflows:
            st.caption(f"{plain(entry.get('name'))} · {plain(entry.get('path') or '')}")
    st.subheader("project.yaml", anchor=False)
    st.code(redact_text(ProjectDocument(found).to_yaml()), language="yaml")
