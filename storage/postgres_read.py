"""One snapshot, in Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlrun.errors import SchemaMismatch, StoreClosed
from mlrun.tables import PARAMS, RUNS, TAGS

from .postgres_apply import read_marks
from .postgres_arrays import listed
from .postgres_schema import KEYED, KINDS, name, source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.contracts import Mark, RunQuery
    from mlrun.tables import Table

    from .postgres_connect import Connection

__all__ = ["View", "scan"]

_RUN_ID, _KEY = PARAMS.key
_MANY = 2_000  # values from which comparing texts costs less than looking each up by its digest


class View:
    """All tables and marks as they are at one instant; see `mlrun.contracts.RecordsView`."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._marks: dict[str, Mark] | None = None
        self._rids: dict[str, int] = {}  # of the runs found last

    @property
    def connection(self) -> Connection:
        """The connection that holds the snapshot; StoreClosed after the `with` block."""
        if self._connection is None:
            raise StoreClosed("this view ended with its `with` block")
        return self._connection

    def end(self) -> None:
        """Make every later call fail."""
        self._connection = None

    def marks(self) -> dict[str, Mark]:
        """Return all marks."""
        connection = self.connection
        if self._marks is None:
            self._marks = read_marks(connection)
        return dict(self._marks)

    def scan(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Sequence[Any]] | None = None,
    ) -> pa.Table:
        """Return rows in key order."""
        return scan(self.connection, table, columns, where or {}, self._rids)

    def find(self, query: RunQuery) -> pa.Table:
        """Return the ids of the runs that the query means, in its order."""
        from .postgres_find import find

        found = find(self.connection, query)
        ids, rids = (found.column(n).to_pylist() for n in range(2))
        self._rids = dict(zip(ids, rids, strict=True))
        return found.select([_RUN_ID])


def scan(
    connection: Connection,
    table: Table,
    columns: Sequence[str] | None,
    where: Mapping[str, Sequence[Any]],
    rids: Mapping[str, int],
) -> pa.Table:
    """Return rows in key order; runs that were just found are looked up by their number, `rids`."""
    wanted = list(table.names if columns is None else columns)
    if unknown := {*wanted, *where} - set(table.names):
        raise SchemaMismatch.of(table.name, unknown=unknown)
    schema = pa.schema([table.schema.field(c) for c in wanted])
    if not all(len(values) for values in where.values()):
        return schema.empty_table()
    expressions, behind = source(table)
    terms, params = [], []
    for column, values in where.items():
        if (
            column == _RUN_ID
            and rids
            and table in (RUNS, TAGS, *KEYED)
            and all(v in rids for v in values)
        ):
            params.append(listed(list({rids[v] for v in values}), "int8"))
            terms.append(f"t.rid = any(${len(params)}::int8[])")
        else:
            terms.append(_among(table, column, expressions[column], values, params))
    chosen = ", ".join(f"{expressions[c]} as {name(c)}" for c in wanted)
    order = ", ".join(f"{expressions[k]} nulls first" for k in table.key)
    sql = f"select {chosen} from {behind}{''.join(f' and {t}' for t in terms)} order by {order}"
    found = connection.arrow(sql, params)
    return found.cast(schema)


def _among(
    table: Table, column: str, expression: str, values: Sequence[Any], params: list[Any]
) -> str:
    """Return the condition that an expression has one of the values."""
    kind = KINDS[table.column(column).type]
    some = list(dict.fromkeys(_plain(v, kind) for v in values if v is not None))
    if kind == "text":
        some = [v for v in some if "\0" not in v]  # no stored text has one
    parts = []
    if some:
        params.append(listed(some, kind))
        hole = f"${len(params)}::{kind}[]"
        if kind == "text" and column in table.key and len(some) < _MANY:
            parts.append(f"digest({expression}) in (select digest(x) from unnest({hole}) x)")
        else:
            parts.append(f"{expression} in (select x from unnest({hole}) x)")
    if any(v is None for v in values):
        parts.append(f"{expression} is null")
    return f"({' or '.join(parts)})" if parts else "false"


def _plain(value: Any, kind: str) -> Any:
    if hasattr(value, "timestamp"):  # a datetime: microseconds are exact in integers only
        from datetime import UTC, datetime, timedelta

        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return bool(value) if kind == "bool" else value
