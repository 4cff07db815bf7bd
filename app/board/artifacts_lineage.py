"""Lineage of a version: who made it of what, and who used it for what, as a graph and as a list of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlrun.content.naming import artifact_uri
from mlrun.view import RunView
from mlrun.workflows.picture import Node

from .artifacts_find import names_of

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem
    from mlrun.store import Store

__all__ = ["MOST_RUNS", "graph_of", "runs_of"]

MOST_RUNS = 12  # of each side that are drawn; the list has all of them
_MOST_ITEMS = 8  # of a run


def runs_of(store: Store, item: DataItem) -> pl.DataFrame:
    """Return the runs of a version: `role` (made or used), `run, run_id, step, time`."""
    found = item.lineage()
    names = names_of(store, found["run_id"].unique().to_list()[:1_000])
    return found.select(
        pl.col("role").replace({"output": "made", "input": "used"}),
        pl.col("run_id").replace_strict(names, default="").alias("run"),
        "run_id", "step", "time",
    )  # fmt: skip


def graph_of(store: Store, item: DataItem, runs: pl.DataFrame) -> list[Node]:
    """Return the nodes of the graph: inputs of its makers, makers, the version, its users, and what they made.

    Nodes are named for people and told apart by them, so that a name which comes twice gets a mark.
    """
    nodes = _Nodes()
    this = artifact_uri(item.project, item.key, item.version)
    before = []
    for run_id, name in _first(runs, "made"):
        sources = _items(store, run_id, "input", this)
        made = nodes.add(
            run_id, name or run_id[:8], "run", [nodes.add(u, k, t) for u, k, t in sources]
        )
        before.append(made)
    centre = nodes.add(this, f"{item.key}:v{item.version}", item.type, before)
    for run_id, name in _first(runs, "used"):
        user = nodes.add(run_id, name or run_id[:8], "run", [centre])
        for uri, key, kind in _items(store, run_id, "output", this):
            nodes.add(uri, key, kind, [user])
    return nodes.every()


class _Nodes:
    def __init__(self) -> None:
        self._by_id: dict[str, Node] = {}
        self._names: set[str] = set()

    def add(self, key: str, name: str, state: str, before: list[str] | None = None) -> str:
        """Add a node if it is not there; returns its name."""
        if key in self._by_id:
            return self._by_id[key].name
        while name in self._names:
            name += "'"
        self._names.add(name)
        self._by_id[key] = Node(name, state, tuple(before or ()))
        return name

    def every(self) -> list[Node]:
        return list(self._by_id.values())


def _first(runs: pl.DataFrame, role: str) -> list[tuple[str, str]]:
    found = runs.filter(pl.col("role") == role).unique("run_id", keep="first", maintain_order=True)
    return list(found.head(MOST_RUNS).select("run_id", "run").iter_rows())


def _items(store: Store, run_id: str, role: str, but: str) -> list[tuple[str, str, str]]:
    """Return URI, name and type of what a run made or used."""
    found = RunView(store, run_id, later=True).lineage().filter(pl.col("role") == role)
    found = found.filter(pl.col("uri") != but).unique("uri", maintain_order=True).head(_MOST_ITEMS)
    return [
        (uri, f"{key}:v{version}", kind)
        for uri, key, version, kind in found.select("uri", "key", "version", "type").iter_rows()
    ]
