"""For how long projects keep what, and how much they may write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

import mlrun
from mlrun.care.retention import COLUMNS, policies, set_policy
from mlrun.errors import MlrunError

from . import address, session
from .words import plain

if TYPE_CHECKING:
    import polars as pl

__all__ = ["policies_room"]

_SAID = {
    "raw_days": "Days that points are kept after a run has ended",
    "rollup_days": "Days that rollups, which charts are made of, are kept",
    "deleted_days": "Days that deleted runs can be brought back",
    "max_metric_keys": "Metrics that a run may have",
    "points_per_second": "Points a second that may be written",
}


def policies_room() -> None:
    """Draw the policies."""
    store = session.store()
    found = policies(store)
    st.caption(
        "Empty is what holds for all. `mlrun compact` removes what is past its time, and that cannot be brought back; "
        "summaries stay."
    )
    if not found.is_empty():
        st.dataframe(found, hide_index=True, alt="Policies of projects")
    names = mlrun.projects(store=store)["name"].to_list()
    names += [name for name in found["project"] if name not in names]
    if not names:
        st.caption("There are no projects yet.")
        return
    chosen = address.text("project")
    at = names.index(chosen) if chosen in names else 0
    project = st.selectbox("Project", names, index=at, key="_policy_of", width=320)
    _edit(found, project)


def _edit(found: pl.DataFrame, project: str) -> None:
    rows = found.filter(found["project"] == project).to_dicts()
    before = rows[0] if rows else {}
    values: dict[str, int | None] = {}
    with st.form("_policy"):
        for name in COLUMNS:
            given = st.number_input(
                _SAID.get(name, name), min_value=1, step=1, value=before.get(name),
                key=f"_{name}-{project}", placeholder="what holds for all",
            )  # fmt: skip
            values[name] = None if given is None else int(given)
        asked = st.form_submit_button(f"Set the policy of {plain(project)}", type="primary")
    if not asked:
        return
    try:
        set_policy(session.store(), project, **values)
    except MlrunError as error:
        st.error(plain(str(error)))
    else:
        st.rerun()
