"""Ops, sample rows and reading back, for the suites of a records store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.contracts import Op
    from mlrun.tables import Table

__all__ = ["RECORDS", "artifact_op", "rows_of", "run_change", "run_put", "sample", "value_put"]

RECORDS = [t for t in TABLES.values() if t.kind == "record"]


def run_put(run_id: str, **columns: Any) -> Op:
    """Return the op that puts a run."""
    return ("put", "runs", {"run_id": run_id, "project": "p", **columns})


def run_change(run_id: str, **columns: Any) -> Op:
    """Return the op that changes some columns of a run."""
    return ("put", "runs", {"run_id": run_id, **columns})


def value_put(table: str, run_id: str, key: str, value: Any) -> Op:
    """Return the op that puts a param or a result."""
    row = {"run_id": run_id, "key": key, "value": json.dumps(value), "type": type(value).__name__}
    return ("put", table, row)


def artifact_op(**columns: Any) -> Op:
    """Return the op that registers content, with defaults for what is not given."""
    row = {"project": "p", "key": "model", "type": "model", "sha256": "aa", "uri": "objects/aa/aa"}
    return ("artifact", "", {**row, "created_at": 5, **columns})


def sample(table: Table, number: int) -> dict[str, Any]:
    """Return a whole row of a table."""
    make: dict[str, Callable[[str], Any]] = {
        "string": lambda c: f"{c}-{number}",
        "json": lambda _: json.dumps(number),
        "int64": lambda _: number,
        "float64": lambda _: number + 0.5,
        "timestamp": lambda _: 1_700_000_000_000_000 + number,
        "bool": lambda _: bool(number % 2),
    }
    return {c.name: make[c.type](c.name) for c in table.columns}


def rows_of(records: Any, table: Table, **where: Any) -> list[dict[str, Any]]:
    """Read rows, times as integers."""
    with records.read() as view:
        found = view.scan(table, where=where or None)
    for number, column in enumerate(table.columns):
        if column.type == "timestamp":
            found = found.set_column(number, column.name, found.column(number).cast("int64"))
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows
