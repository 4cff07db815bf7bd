"""A workflow's run as nodes, rows and lines to copy; what is stored may have any form, and is checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.workflows.picture import Node
from mlrun.workflows.telling import NOTIFIED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST_STEPS", "again_line", "arguments_of", "nodes_of", "sent"]

MOST_STEPS = 300


def nodes_of(provenance: Mapping[str, Any], steps: pl.DataFrame) -> list[Node]:
    """Return the steps in the order they came in.

    Args:
        provenance: of the workflow's run; it holds the graph once the run has ended.
        steps: `name, state` of its children, the first begun first; they are the nodes until then, without edges.
    """
    graph = provenance.get("graph")
    if not isinstance(graph, list) or not all(isinstance(node, dict) for node in graph):
        rows = steps.select("name", "state").head(MOST_STEPS).iter_rows()
        return _apart([Node(str(name or ""), str(state)) for name, state in rows])
    return [
        Node(str(node.get("name")), str(node.get("state")), tuple(map(str, node.get("before") or ())))
        for node in graph[:MOST_STEPS]
    ]  # fmt: skip


def arguments_of(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments of a workflow as text; of those without a JSON form, that they were not stored."""
    kept = _dict(_dict(provenance.get("workflow")).get("arguments"))
    return {
        str(name): json.dumps(value.get("value"), ensure_ascii=False)
        if isinstance(value, dict)
        else "not stored: it has no JSON form"
        for name, value in kept.items()
    }


def again_line(run_id: str, state: str, provenance: Mapping[str, Any], project: str) -> str:
    """Return the Python that runs a workflow again, where its code and data can be reached."""
    if state in ("error", "aborted", "lost"):
        return f"import mlrun\n\nmlrun.get_run({run_id!r}).retry()  # what has completed is taken"
    name = str(_dict(provenance.get("workflow")).get("name") or "")
    kept = _dict(_dict(provenance.get("workflow")).get("arguments"))
    given = {str(k): v.get("value") for k, v in kept.items() if isinstance(v, dict)}
    return (
        f"import mlrun\n\nproject = mlrun.get_or_create_project({project!r})\n"
        f"project.run({name!r}, arguments={given!r})"
    )


def sent(labels: Mapping[str, Any]) -> pl.DataFrame:
    """Return what became of the notifications: `name, kind, status, time, reason`."""
    rows = labels.get(NOTIFIED)
    texts = ("name", "kind", "status", "reason")
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    told = [
        {**{c: str(row.get(c) or "") for c in texts}, "time": _whole(row.get("time"))} for row in found
    ]  # fmt: skip
    schema: dict[str, Any] = {"name": pl.String, "kind": pl.String, "status": pl.String,
                              "time": pl.Int64, "reason": pl.String}  # fmt: skip
    frame = pl.DataFrame(told, schema=schema)
    return frame.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))


def _apart(nodes: list[Node]) -> list[Node]:
    """Give nodes that share a name a number, because a picture tells them apart by it."""
    seen: dict[str, int] = {}
    out = []
    for node in nodes:
        seen[node.name] = seen.get(node.name, 0) + 1
        number = seen[node.name]
        out.append(node if number == 1 else Node(f"{node.name} ({number})", node.state))
    return out


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and abs(value) < 2**53 else None
