"""Ops, checked, decoded and grouped: all that can be done before a transaction of any database begins.

Tables do not depend on each other, so the ops of each are gathered (their order kept), puts of one key are merged, and
rows with the same columns come together, to be written by one prepared statement: an absorber applies thousands of runs
in one call.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlrun.errors import SchemaMismatch
from mlrun.tables import ALIASES, ARTIFACTS, LINEAGE, PARAMS, RUNS, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlrun.contracts import Op
    from mlrun.tables import Column, Table

__all__ = ["LABELS", "RECORDS", "Row", "Step", "decoded", "labels_of", "plan"]

RECORDS: Mapping[str, Table] = {n: t for n, t in TABLES.items() if t.kind == "record"}
# the labels of a run one by one, as its params lie: written whenever its `labels` are
LABELS = replace(PARAMS, name="labels")

Row = dict[str, Any]
# ("expect", table, key, allowed values by column), before all others
# ("put", table, columns, rows) | ("del", table, key) | ("artifact", ARTIFACTS, row) | ("labels", LABELS, by run)
Step = tuple[Any, ...]
_CATALOG = f"{ARTIFACTS.name} {LINEAGE.name} {ALIASES.name}"  # an "artifact" op writes all three


def plan(ops: Iterable[Op]) -> list[Step]:
    """Check and group ops.

    Raises:
        SchemaMismatch: an op names a table or column that is not there, lacks a key, or has a value of a wrong type.
    """
    gathered: dict[str, _Gather] = {}
    expected: list[Step] = []
    for kind, table_name, row in ops:
        table = ARTIFACTS if kind == "artifact" else RECORDS.get(table_name)
        if table is None:
            raise SchemaMismatch.of(table_name, why="no such table of records")
        group = _CATALOG if table.name in _CATALOG else table.name
        into = gathered.get(group) or gathered.setdefault(group, _Gather())
        if kind == "put":
            into.put(table, row)
        elif kind == "del":
            into.other(("del", table, _checked(table, row, "which rows? no column is given")))
        elif kind == "expect":
            expected.append(_expectation(table, row))
        elif kind == "artifact":
            into.other(("artifact", table, _artifact(row)))
        else:
            raise SchemaMismatch.of(table_name, why=f"no such op: {kind!r}")
    return expected + [step for g in gathered.values() for step in g.steps()]


def _expectation(table: Table, row: Mapping[str, Any]) -> Step:
    """Return the step that compares a row: its key, and the values that each further column may have."""
    missing = [part for part in table.key if part not in row]
    if missing or len(row) == len(table.key):
        why = "" if missing else "no column is compared"
        raise SchemaMismatch.of(table.name, missing=missing, why=why)
    key = _checked(table, {c: row[c] for c in table.key}, "")
    allowed: dict[str, list[Any]] = {}
    for column, given in row.items():
        if column in table.key:
            continue
        values = given if isinstance(given, (list, tuple)) else [given]
        allowed[column] = [
            None if v is None else _checked(table, {column: v}, "")[column] for v in values
        ]
        if column not in table.names:
            raise SchemaMismatch.of(table.name, unknown={column})
    return ("expect", table, key, allowed)


class _Gather:
    """Steps whose order matters; puts of one key between two other steps become one row."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[tuple[Any, ...], Row]] = {}
        self._steps: list[Step] = []

    def put(self, table: Table, row: Mapping[str, Any]) -> None:
        checked = _checked(table, row, "an empty row")
        for part in table.key:
            if checked.get(part) is None:
                if not table.column(part).nullable:
                    raise SchemaMismatch.of(table.name, missing=[part])
                checked[part] = None
        if "value" in checked:
            checked = decoded(checked["value"]) | checked
        rows = self._rows.setdefault(table.name, {})
        key = tuple(checked[k] for k in table.key)
        known = rows.get(key)
        rows[key] = checked if known is None else known | checked

    def other(self, step: Step) -> None:
        self._flush()
        self._steps.append(step)

    def steps(self) -> list[Step]:
        self._flush()
        return self._steps

    def _flush(self) -> None:
        for table_name, rows in self._rows.items():
            table = RECORDS[table_name]
            alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
            for row in rows.values():
                columns = tuple(c for c in table.names if c in row)
                alike.setdefault(columns, []).append(tuple(row[c] for c in columns))
            self._steps.extend(("put", table, columns, found) for columns, found in alike.items())
            if table is RUNS:
                texts = {key[0]: row["labels"] for key, row in rows.items() if "labels" in row}
                if texts:
                    self._steps.append(
                        ("labels", LABELS, {r: labels_of(t) for r, t in texts.items()})
                    )
        self._rows.clear()


def _checked(table: Table, row: Mapping[str, Any], empty: str) -> Row:
    """Return the row with values in their column's type."""
    if not row:
        raise SchemaMismatch.of(table.name, why=empty)
    columns = _COLUMNS[table.name]
    try:
        return {c: _as(columns[c], v, table) for c, v in row.items()}
    except KeyError:
        raise SchemaMismatch.of(table.name, unknown=set(row) - set(table.names)) from None


_COLUMNS = {t.name: {c.name: c for c in t.columns} for t in RECORDS.values()}


def _as(column: Column, value: Any, table: Table) -> Any:
    if value is None and column.nullable:
        return None
    if column.type in {"string", "json"}:
        if isinstance(value, str):
            return value
    elif isinstance(value, (int, float)):
        if column.type == "float64":
            return float(value)
        if value == value // 1 and -_INT64 <= value < _INT64:  # also True and 3.0
            return int(value)
    raise SchemaMismatch.of(
        table.name, why=f"column {column.name!r} is {column.type}, not {value!r:.80}"
    )


def decoded(value: str | None) -> Row:
    """Return the forms of a JSON value that indexes hold."""
    try:
        found = json.loads(value) if value is not None else None
    except ValueError as error:
        raise SchemaMismatch(f"value is not JSON: {value!r:.80}") from error
    if isinstance(found, str):
        return {"num": None, "text": found}
    if isinstance(found, (int, float)):
        try:
            return {"num": float(found), "text": None}
        except OverflowError:  # an integer beyond float64
            return {"num": math.inf if found > 0 else -math.inf, "text": None}
    return {"num": None, "text": None}


def labels_of(text: str | None) -> dict[str, str]:
    """Return the labels that a JSON text holds, each as JSON; none where it is no JSON object."""
    try:
        found = json.loads(text) if text is not None else {}
    except ValueError:  # `labels` is shown as it was given; there is nothing to look up in it
        return {}
    return {k: json.dumps(v) for k, v in found.items()} if isinstance(found, dict) else {}


_INT64 = 1 << 63
_ARTIFACT_LINKS = ("run_id", "role", "step")


def _artifact(row: Mapping[str, Any]) -> Row:
    own = {
        c: v for c, v in row.items() if c in ARTIFACTS.names and c != "version" and v is not None
    }
    links = {c: row[c] for c in _ARTIFACT_LINKS if row.get(c) is not None}
    unknown = set(row) - set(ARTIFACTS.names) - set(_ARTIFACT_LINKS) - {"aliases"}
    lacking = {c for c in ("project", "key", "type", "uri") if own.get(c) is None}
    if unknown or lacking:
        raise SchemaMismatch.of(ARTIFACTS.name, unknown=unknown, missing=lacking)
    aliases = [_as(ALIASES.column("alias"), a, ALIASES) for a in row.get("aliases") or ()]
    return {
        "own": _checked(ARTIFACTS, own, ""),
        "links": _checked(LINEAGE, links, "") if links else {},
        "aliases": aliases,
    }
