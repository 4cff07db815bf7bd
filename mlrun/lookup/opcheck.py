"""Whether an op fits its table: what one process wrote wrongly must not keep the others' runs from being read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.tables import ALIASES, ARTIFACTS, GUARDED, LINEAGE, PARAMS, RESULTS, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.contracts import Op
    from mlrun.tables import Table

__all__ = ["misfit", "unfit_expectation"]

_INT64 = 1 << 63
_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str, "json": str, "int64": int, "timestamp": int, "bool": int, "float64": (int, float),
}  # fmt: skip
_KINDS = {
    t.name: {c.name: c.type for c in t.columns} for t in TABLES.values() if t.kind == "record"
}
_LINKS = ("run_id", "role", "step")
_MADE = {**{c: _KINDS[LINEAGE.name][c] for c in _LINKS}, **_KINDS[ARTIFACTS.name]}
_MUST = ("project", "key", "type", "uri", "created_at")


def misfit(op: Op) -> str:
    """Return why no table takes the op; an empty text if one does.

    Example:
        >>> misfit(("put", "tags", {"run_id": "r", "tag": "good"}))
        ''
        >>> misfit(("put", "tags", {"run_id": "r", "tag": 7}))
        "column 'tag' is string, not 7"
    """
    verb, name, row = op
    if verb == "artifact":
        return _artifact(row)
    table = TABLES.get(name)
    known = table is not None and table.kind == "record" and name not in GUARDED
    if verb not in ("put", "del") or table is None or not known:
        return f"there is no {verb!r} into a table {name!r}"
    if verb == "put":
        lacking = [k for k in table.key if row.get(k) is None and not table.column(k).nullable]
        if lacking:
            return f"{', '.join(lacking)} is missing"
        if table in (PARAMS, RESULTS) and not _is_json(row):
            return "its value is not JSON"
    return _values(_KINDS[name], row, table)


def unfit_expectation(row: Mapping[str, Any], table: Table) -> str:
    """Return why this is no "expect" op of a table; an empty text if it is one. No journal has such ops."""
    if lacking := [k for k in table.key if k not in row]:
        return f"{', '.join(lacking)} is missing"
    kinds = _KINDS[table.name]
    for column, given in row.items():
        for value in given if isinstance(given, list) else [given]:
            if why := _values(kinds, {column: value}, table):
                return why
    return "" if len(row) > len(table.key) else "it compares no column"


def _artifact(row: Mapping[str, Any]) -> str:
    lacking = [k for k in _MUST if row.get(k) is None]
    if lacking:
        return f"{', '.join(lacking)} is missing"
    aliases = row.get("aliases") or ()
    if not all(isinstance(alias, str) for alias in aliases):
        return f"{ALIASES.name} are text, not {aliases!r:.80}"
    return _values(_MADE, {c: v for c, v in row.items() if c != "aliases"}, ARTIFACTS)


def _values(kinds: Mapping[str, str], row: Mapping[str, Any], table: Table) -> str:
    for column, value in row.items():
        kind = kinds.get(column)
        if kind is None:
            return f"table {table.name!r} has no column {column!r:.80}"
        if value is not None and not _is_of(kind, value):
            return f"column {column!r} is {kind}, not {value!r:.80}"
    return ""


def _is_of(kind: str, value: Any) -> bool:
    wanted: tuple[type, ...] | type = _PYTHON[kind]
    if not isinstance(value, wanted):
        return False
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    return kind == "float64" or not isinstance(value, int) or -_INT64 <= value < _INT64


def _is_json(row: Mapping[str, Any]) -> bool:
    try:
        json.loads(row.get("value") or "null")
    except (TypeError, ValueError):
        return False
    return True
