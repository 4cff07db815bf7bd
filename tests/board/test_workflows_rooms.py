from __future__ import annotations

import ast
from typing import Any

import polars as pl

from mlrun.app.board.workflows_graph import again_line, arguments_of, nodes_of, sent

STEPS = pl.DataFrame({"name": ["a", "a", None], "state": ["completed", "running", "pending"]})


def test_until_it_has_ended_the_steps_that_began_are_the_graph() -> None:
    assert [(n.name, n.state) for n in nodes_of({}, STEPS)] == [
        ("a", "completed"), ("a (2)", "running"), ("", "pending"),
    ]  # fmt: skip


def test_a_stored_graph_of_any_form_makes_nodes_or_none() -> None:
    graph = [{"name": "a", "state": "completed", "before": []}, {"name": "b", "before": ["a", 3]}]
    found = nodes_of({"graph": graph}, STEPS)
    assert [n.before for n in found] == [(), ("a", "3")]
    for odd in (None, "x", [1], {"a": 1}):
        assert len(nodes_of({"graph": odd}, STEPS)) == 3


def test_arguments_and_notifications_of_any_form_are_shown_as_text() -> None:
    kept = {"workflow": {"arguments": {"lr": {"value": 0.5}, "frame": None}}}
    assert arguments_of(kept) == {"lr": "0.5", "frame": "not stored: it has no JSON form"}
    for odd in ({}, {"workflow": 3}, {"workflow": {"arguments": [1]}}):
        assert arguments_of(odd) == {}
    row = {"name": "team", "kind": "slack", "status": "error", "time": 1_000_000, "reason": "no"}
    assert sent({"mlrun/notifications": [row, 3]})["status"].to_list() == ["error"]
    assert sent({"mlrun/notifications": [{"time": "x"}]})["time"].to_list() == [None]
    assert sent({"mlrun/notifications": "x"}).is_empty()


def test_the_line_that_runs_it_again_holds_names_as_text() -> None:
    hostile = "'); import os; ('\n"
    kept = {"workflow": {"name": hostile, "arguments": {"a": {"value": hostile}, "b": None}}}
    for state in ("error", "completed"):
        tree: Any = ast.parse(again_line(hostile, state, kept, hostile))
        assert [node.names[0].name for node in tree.body if isinstance(node, ast.Import)] == [
            "mlrun"
        ]
