"""A pinned sight of a ClickHouse table as a lazy Polars frame.

What the server can filter exactly is told to it: whole numbers, times and text of a table's columns compared with
constants, joined by `and`. Everything is filtered again here, so that leaving a condition out only costs time.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from .clickhouse_scan import Clauses, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.tables import Table

    from .clickhouse_log import State, TableLog

__all__ = ["lazy_frame"]

_SIGNS = {"Eq": "=", "Gt": ">", "GtEq": ">=", "Lt": "<", "LtEq": "<="}
_SWAPPED = {"Eq": "Eq", "Gt": "Lt", "GtEq": "LtEq", "Lt": "Gt", "LtEq": "GtEq"}
_WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Int", "Dyn")


def lazy_frame(log: TableLog, state: State) -> pl.LazyFrame:
    """Return the rows of a state, all columns; nothing is read before it is collected."""
    from polars.io.plugins import register_io_source

    empty = pl.DataFrame(log.table.schema.empty_table())
    assert isinstance(empty, pl.DataFrame)

    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        clauses = Clauses()
        clauses.add_sight(log, state)
        for condition in _conditions(predicate):
            _push(condition, log.table, clauses)
        left = n_rows
        for batch in read(log, state, clauses, with_columns or list(log.table.names)):
            frame = pl.DataFrame(batch)
            if predicate is not None:
                frame = frame.filter(predicate)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame
            if left == 0:
                return

    return register_io_source(batches, schema=empty.schema)


def _conditions(predicate: pl.Expr | None) -> list[Any]:
    """Return the conditions that all hold, as Polars writes expressions down."""
    if predicate is None:
        return []
    waiting, found = [json.loads(predicate.meta.serialize(format="json"))], []
    while waiting:
        tree = waiting.pop()
        inner = tree.get("BinaryExpr") if isinstance(tree, dict) else None
        if isinstance(inner, dict) and inner.get("op") == "And":
            waiting += [inner["left"], inner["right"]]
        else:
            found.append(tree)
    return found


def _push(tree: Any, table: Table, clauses: Clauses) -> None:
    """Tell the server a condition, if it has one of the known forms."""
    try:
        if "BinaryExpr" in tree:
            _push_comparison(tree["BinaryExpr"], table, clauses)
        elif tree["Function"]["function"]["Boolean"]["IsIn"] is not None:
            column, values = tree["Function"]["input"]
            _push_members(column["Column"], _listed(values["Literal"]["Scalar"]), table, clauses)
    except (KeyError, TypeError, ValueError):
        return  # another form: filtered here


def _push_comparison(inner: dict[str, Any], table: Table, clauses: Clauses) -> None:
    left, right, op = inner["left"], inner["right"], inner["op"]
    if "Literal" in left:
        left, right, op = right, left, _SWAPPED[op]
    column, sign = table.column(left["Column"]), _SIGNS[op]
    value = _constant(right["Literal"])
    if column.type in ("int64", "timestamp") and isinstance(value, int):
        clauses.add_bound(column.name, sign, value, instant=column.type == "timestamp")
    elif column.type == "string" and isinstance(value, str) and sign == "=":
        clauses.add_members(column.name, [value])


def _push_members(name: str, values: list[Any], table: Table, clauses: Clauses) -> None:
    kind = {"string": str, "int64": int}.get(table.column(name).type)
    if kind is not None and values and all(type(v) is kind for v in values):
        clauses.add_members(name, values)


def _constant(literal: Any) -> Any:
    """Return a text, a whole number or, of an instant, its microseconds; KeyError for anything else."""
    if "Dyn" in literal:
        return literal["Dyn"]["Int"]
    scalar = literal["Scalar"]
    if "String" in scalar:
        return scalar["String"]
    if "Datetime" in scalar:
        number, unit = scalar["Datetime"][:2]
        if unit != "Microseconds":
            raise ValueError(unit)
        return int(number)
    [(kind, number)] = scalar.items()
    if kind not in _WHOLE:
        raise ValueError(kind)
    return int(number)


def _listed(scalar: Any) -> list[Any]:
    """Return the values of a list, which Polars keeps as an Arrow stream."""
    return pl.read_ipc_stream(bytes(scalar["List"])).to_series().to_list()
