"""Which runs, in which order.

PostgreSQL plans a filter well by itself. What it cannot know is that few runs are wanted of an order by a value: it
would join the value of every run, sort, and throw nearly all away. So a page is gathered in up to three parts, each
with a condition that lets one index give the order: runs whose value is a number, runs whose value is text, and the
runs that have none, which come last both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlrun.tables import RUNS
from mlrun.where.ast import Name, names_in

from .postgres_apply import lookup_numbers
from .postgres_connect import Listed
from .postgres_schema import HEAD, head
from .postgres_where import Scope

if TYPE_CHECKING:
    from mlrun.contracts import OrderKey, RunQuery

    from .postgres_connect import Connection

__all__ = ["find"]

_RUN_ID = RUNS.key[0]
_ANSWER = pa.schema([(_RUN_ID, pa.string()), ("rid", pa.int32())])
_NEWEST = f"{head(f'r.{_RUN_ID}')} desc, r.{_RUN_ID} desc"


def find(connection: Connection, query: RunQuery) -> pa.Table:
    """Return `run_id` and `rid` of the runs that `query` means, in its order."""
    if query.limit == 0:
        return _ANSWER.empty_table()
    roots: list[Any] = [k.name for k in query.order_by]
    roots += [] if query.where is None else [query.where]
    keys = sorted({n.key for root in roots for n in names_in(root) if n.scope != "run"})
    kids = lookup_numbers(connection, "keys", keys)
    search = _Search(connection, query, kids)
    first = query.order_by[0] if query.order_by else None
    if first is not None and query.limit is not None and _is_indexed(first):
        return search.parts(first, query.limit)
    return search.whole()


def _is_indexed(key: OrderKey) -> bool:
    value = key.name
    if not isinstance(value, Name):
        return False
    if value.scope == "run":
        return value.key == "started_at"
    return value.scope != "metrics" or value.aggregate == "last"


class _Search:
    """One query on one snapshot."""

    def __init__(self, connection: Connection, query: RunQuery, kids: dict[str, int]) -> None:
        self._connection = connection
        self._query = query
        self._kids = kids

    def whole(self) -> pa.Table:
        """Sort all runs that satisfy the condition."""
        query = self._query
        scope, checks = self._checks()
        order = scope.order(query.order_by) if query.order_by else _NEWEST
        if query.order_by and query.order_by[0].name == Name("run", _RUN_ID):
            way = "desc" if query.order_by[0].descending else "asc"
            order = f"{head(f'r.{_RUN_ID}')} {way}, r.{_RUN_ID} {way}"
        return self._asked(scope, checks, order, query.limit, query.offset)

    def parts(self, first: OrderKey, limit: int) -> pa.Table:
        """Gather the first runs of an order by one value, form by form."""
        offset, need = self._query.offset, self._query.offset + limit
        gathered: list[pa.Table] = []
        held = 0
        forms = ["us"] if first.name == Name("run", "started_at") else ["num", "text"]
        if isinstance(first.name, Name) and first.name.scope == "metrics":
            forms = ["num"]
        for form in [*(forms[::-1] if first.descending else forms), None]:
            scope, checks = self._checks()
            value = scope.operand(first.name)
            others = scope.order(self._query.order_by[1:])
            if form is None:
                checks += "".join(f" and {getattr(value, f)} is null" for f in forms)
                order = others
            else:
                place = getattr(value, form)
                checks += f" and {place} is not null"
                # nulls are not there, and these ways are the ones that the index has
                way = "desc nulls first" if first.descending else "asc nulls last"
                order = f"{place} {way}, {others}"
                if form == "text":
                    order = f"{value.head} {way}, {order}"
            gathered.append(self._asked(scope, checks, order, need - held, 0))
            held += gathered[-1].num_rows
            if held >= need:
                break
        return pa.concat_tables(gathered).slice(offset)

    def _checks(self) -> tuple[Scope, str]:
        """Return the whole condition on `runs r`, and the scope that holds its values."""
        query = self._query
        scope = Scope(self._kids, query.now_us)
        parts = ["r.present"]
        if not query.children:
            parts.append("r.parent is null")
        if not query.archived:
            parts.append("r.archived_at is null")
        if not query.deleted:
            parts.append("r.deleted_at is null")
        if query.project is not None:
            column = head("r.project") if len(query.project) < HEAD else "r.project"
            parts.append(f"({column}) = {scope.bound(query.project, 'text')}")
        if query.exclude:
            listed = Listed(sorted(query.exclude), "string")
            parts.append(f"r.{_RUN_ID} <> all({scope.bound(listed, 'text[]')})")
        if query.where is not None:
            parts.append(scope.condition(query.where))
        return scope, " and ".join(parts)

    def _asked(
        self, scope: Scope, checks: str, order: str, limit: int | None, offset: int
    ) -> pa.Table:
        sql = f"select r.{_RUN_ID}, r.rid from runs r{scope.joins} where {checks} order by {order}"
        if limit is not None:
            sql += f" limit {scope.bound(limit, 'int8')}"
        if offset:
            sql += f" offset {scope.bound(offset, 'int8')}"
        return self._connection.arrow(sql, scope.values).cast(_ANSWER)
