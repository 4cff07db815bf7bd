"""Single rows by their columns, read without pyarrow: what a run asks when it begins again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.tables import RUNS

from .postgres_schema import HEAD, INDEXED, KINDS, head, name, source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.tables import Table

    from .postgres_connect import Connection

__all__ = ["lookup"]


def lookup(connection: Connection, table: Table, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that match every column of `key`, in key order; timestamps as int microseconds."""
    if any(isinstance(v, str) and "\0" in v for v in key.values()):
        return []  # no stored text has one
    expressions, behind = source(table)
    terms, params = [], []
    for column, value in key.items():
        if value is None:
            terms.append(f"{expressions[column]} is null")
            continue
        kind = KINDS[table.column(column).type]
        params.append(bool(value) if kind == "bool" else value)
        hole = f"${len(params)}::{kind}"
        by_digest = kind == "text" and column in table.key  # that is what its index holds
        terms.append(
            f"digest({expressions[column]}) = digest({hole})"
            if by_digest
            else f"{expressions[column]} = {hole}"
        )
        if table is RUNS and column in INDEXED:
            params.append(value[:HEAD])
            terms.append(f"{head(expressions[column])} = ${len(params)}::{kind}")
    chosen = ", ".join(f"{expressions[c]} as {name(c)}" for c in table.names)
    order = ", ".join(f"{expressions[k]} nulls first" for k in table.key)
    where = "".join(f" and {term}" for term in terms)
    rows = connection.rows(f"select {chosen} from {behind}{where} order by {order}", params)
    return [dict(zip(table.names, row, strict=True)) for row in rows]
