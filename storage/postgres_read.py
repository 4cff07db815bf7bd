"""One snapshot, in Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlrun.arrowmemory import numpy_of
from mlrun.errors import SchemaMismatch, StoreClosed
from mlrun.tables import PARAMS, RUNS, TAGS

from .postgres_apply import read_marks
from .postgres_arrays import listed
from .postgres_schema import HEAD, INDEXED, KEYED, KINDS, head, name, source

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
    known = where.get(_RUN_ID, ())
    by_rid = bool(rids) and table in (RUNS, TAGS, *KEYED) and all(v in rids for v in known)
    if by_rid and table in KEYED and set(where) == {_RUN_ID}:
        return _of_runs(connection, table, wanted, sorted(set(known)), rids).cast(schema)
    expressions, behind = source(table)
    terms, params = [], []
    for column, values in where.items():
        if column == _RUN_ID and by_rid:
            params.append(listed([rids[v] for v in set(values)], "int8"))
            terms.append(f"t.rid = any(${len(params)}::int8[])")
        else:
            terms.append(_among(table, column, expressions[column], values, params))
    chosen = ", ".join(f"{expressions[c]} as {name(c)}" for c in wanted)
    order = ", ".join(f"{expressions[k]} nulls first" for k in table.key)
    sql = f"select {chosen} from {behind}{''.join(f' and {t}' for t in terms)} order by {order}"
    return connection.arrow(sql, params).cast(schema)


def _of_runs(
    connection: Connection,
    table: Table,
    wanted: Sequence[str],
    run_ids: Sequence[str],
    rids: Mapping[str, int],
) -> pa.Table:
    """Read all values of runs, sorted by id, whose numbers are known: numbers travel, texts are put in here."""
    expressions, _ = source(table)
    values = [c for c in wanted if c not in table.key]
    chosen = "".join(f", {expressions[c]} as {name(c)}" for c in values)
    numbers = np.array([rids[r] for r in run_ids], np.int64)
    found = connection.arrow(
        f"select t.rid, t.kid{chosen} from {table.name} t where t.rid = any($1::int8[])",
        [listed(numbers.tolist(), "int8")],
    )
    kids, kid_at = np.unique(numpy_of(found.column(1)), return_inverse=True)
    keys = connection.arrow(
        f"select {name(_KEY)}, kid from keys where kid = any($1::int8[]) order by {name(_KEY)}",
        [listed(kids.tolist(), "int8")],
    )
    # `kids` ascend: the n-th of them stands at this place of `keys`, which are sorted by text
    key_at = np.argsort(numpy_of(keys.column(1)), kind="stable")[kid_at]
    run_order = np.argsort(numbers, kind="stable")
    run_at = run_order[np.searchsorted(numbers[run_order], numpy_of(found.column(0)))]
    order = np.lexsort((key_at, run_at))
    columns = {c: found.column(n + 2).take(pa.array(order)) for n, c in enumerate(values)}
    columns[_RUN_ID] = pa.array(run_ids, pa.string()).take(pa.array(run_at[order]))
    columns[_KEY] = keys.column(0).take(pa.array(key_at[order]))
    return pa.table([columns[c] for c in wanted], names=list(wanted))


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
        elif table is RUNS and column in INDEXED and len(some) < _MANY:  # its index holds heads
            params.append(listed([v[:HEAD] for v in some], kind))
            heads = f"${len(params)}::{kind}[]"
            parts.append(f"({head(expression)} = any({heads}) and {expression} = any({hole}))")
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
