"""A Ray cluster: its nodes, what they have and what is used, its jobs and what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mlrun.errors import MlrunError

from . import session
from .rayapi import RayApi, ray_api
from .states import empty, trouble
from .words import bytes_of, plain, short

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

__all__ = ["ray_room"]

_HOW = """ray start --head --dashboard-host 127.0.0.1
export RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265
mlrun ui"""
_BYTES = ("memory", "objectStoreMemory")
_NAMES = {"objectStoreMemory": "object store"}


def ray_room() -> None:
    """Draw the cluster that the environment of the dashboard names."""
    st.subheader("Ray", anchor=False)
    api = ray_api()
    if api is None:
        empty(
            "No Ray cluster is named",
            "RAY_API_SERVER_ADDRESS says where a cluster's dashboard answers, set where this dashboard is started:",
            _HOW,
        )
        return
    if not session.may("viewer"):
        st.caption("A cluster is everybody's: who may see it has a role on the whole server.")
        return
    st.caption(plain(api.address))
    try:
        used, waits = api.load()
        _resources(used)
        _nodes(api.nodes())
        _jobs(api, api.jobs())
        _waiting(waits)
    except MlrunError as error:
        trouble(error)


def _resources(found: pl.DataFrame) -> None:
    with st.container(horizontal=True):
        for name, used, total in found.iter_rows():
            shown: Callable[[float], str] = bytes_of if name in _BYTES else short
            if used is not None and total is not None:
                st.metric(
                    plain(_NAMES.get(name, name)), f"{shown(used)} of {shown(total)}", border=True
                )


def _nodes(found: pl.DataFrame) -> None:
    st.markdown("Nodes")
    st.dataframe(
        found, hide_index=True, alt="Nodes of the cluster",
        column_config={
            "memory": st.column_config.NumberColumn(format="bytes"),
            "cpu_percent": st.column_config.NumberColumn("CPU %", format="%.0f"),
            "memory_percent": st.column_config.NumberColumn("memory %", format="%.0f"),
        },
    )  # fmt: skip


def _jobs(api: RayApi, found: pl.DataFrame) -> None:
    st.markdown("Jobs")
    if found.is_empty():
        st.caption("No job was submitted.")
        return
    time = "YYYY-MM-DD HH:mm:ss"
    picked = st.dataframe(
        found.drop("stoppable"), hide_index=True, on_select="rerun", selection_mode="single-row",
        key="_ray_jobs", alt="Jobs of the cluster, the last begun first",
        column_config={
            "started": st.column_config.DatetimeColumn("started, UTC", format=time),
            "ended": st.column_config.DatetimeColumn("ended, UTC", format=time),
        },
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    if rows and rows[0] < found.height:
        _stop(api, found.row(rows[0], named=True))


def _stop(api: RayApi, job: dict[str, object]) -> None:
    if not job["stoppable"]:
        st.caption("This job has ended, or belongs to a program that is connected.")
        return
    if not session.may("editor"):
        return
    with st.popover("Stop the job", icon=":material/stop_circle:"):
        st.write(
            f"**{plain(job['job'])}** is stopped; a run that it performs ends as aborted or lost."
        )
        if st.button("Stop it now", key=f"_stop-{job['job']}", type="primary"):
            try:
                api.stop(str(job["job"]))
            except MlrunError as error:
                st.error(plain(str(error)))
            else:
                st.rerun(scope="fragment")


def _waiting(found: pl.DataFrame) -> None:
    st.markdown("Waiting for resources")
    if found.is_empty():
        st.caption("Nothing waits.")
    else:
        st.dataframe(found, hide_index=True, alt="What waits for resources")
