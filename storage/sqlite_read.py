"""One snapshot, in Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import SchemaMismatch, StoreClosed
from mlrun.tables import PARAMS, RUNS

from .sqlite_apply import read_marks
from .sqlite_schema import KEYED, name, source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import pyarrow as pa

    from mlrun.contracts import Mark, RunQuery
    from mlrun.tables import Table

    from .sqlite_connect import Connection

__all__ = ["View"]

_HOLES = 1000
_RUN_ID, _KEY = PARAMS.key
# The driver takes types from the first rows, so a row of the right types stands before all.
_HEADS = {"string": "''", "json": "''", "float64": "0.5"}


class View:
    """All tables and marks as they are at one instant; see `mlrun.contracts.RecordsView`."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._marks = read_marks(connection)  # the first read pins the snapshot

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
        _ = self.connection
        return dict(self._marks)

    def scan(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Sequence[Any]] | None = None,
    ) -> pa.Table:
        """Return rows in key order."""
        import pyarrow as pa

        wanted = list(table.names if columns is None else columns)
        if unknown := {*wanted, *(where or ())} - set(table.names):
            raise SchemaMismatch.of(table.name, unknown=unknown)
        schema = pa.schema([table.schema.field(c) for c in wanted])
        limits = {c: list(dict.fromkeys(values)) for c, values in (where or {}).items()}
        if not all(limits.values()):
            return schema.empty_table()
        found = (_scan_keyed if table in KEYED else _scan_plain)(
            self.connection, table, wanted, limits
        )
        return found.cast(schema) if found.schema != schema else found

    def find(self, query: RunQuery) -> pa.Table:
        """Return the ids of the runs that the query means, in its order."""
        from .sqlite_find import find

        return find(self.connection, query)


def _chunks(limits: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Sequence[Any]]]:
    """Cut the longest list of values so that a statement never has too many parameters."""
    longest = max(limits, key=lambda c: len(limits[c]), default=None)
    if longest is None:
        yield {}
        return
    values = limits[longest]
    for start in range(0, len(values), _HOLES):
        yield {**limits, longest: values[start : start + _HOLES]}


def _among(expression: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    some = [_bindable(v) for v in values if v is not None]
    terms = [f"{expression} in ({', '.join('?' * len(some))})"] if some else []
    if len(some) < len(values):
        terms.append(f"{expression} is null")
    return f"({' or '.join(terms)})", some


def _bindable(value: Any) -> Any:
    if hasattr(value, "timestamp"):  # a datetime: microseconds are exact in integers only
        from datetime import UTC, datetime, timedelta

        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return value


def _headed(connection: Connection, head: str, body: str, params: Sequence[Any]) -> pa.Table:
    """Read `body` behind the row `head`, which is dropped."""
    found = connection.arrow(
        f"select * from (select {head}) union all select * from ({body})", params
    )
    return found.slice(1)


def _scan_plain(
    connection: Connection, table: Table, wanted: list[str], limits: Mapping[str, Sequence[Any]]
) -> pa.Table:
    import pyarrow as pa

    expressions, behind = source(table)
    read = list(dict.fromkeys((*wanted, *table.key)))
    head = ", ".join(f"{_HEADS.get(table.column(c).type, '0')} as {name(c)}" for c in read)
    order = ", ".join(expressions[k] for k in table.key)
    parts = []
    for chunk in _chunks(limits):
        terms, params = [behind], []
        for column, values in chunk.items():
            term, some = _among(expressions[column], values)
            terms.append(term)
            params += some
        chosen = ", ".join(f"{expressions[c]} as {name(c)}" for c in read)
        body = f"select {chosen} from {' and '.join(terms)} order by {order}"
        parts.append(_headed(connection, head, body, params))
    found = pa.concat_tables(parts)
    if len(parts) > 1:
        found = found.sort_by([(k, "ascending") for k in table.key])
    return found.select(wanted)


def _scan_keyed(
    connection: Connection, table: Table, wanted: list[str], limits: Mapping[str, Sequence[Any]]
) -> pa.Table:
    """Read one of the three long tables: integers from SQLite, their texts put in here."""
    import pyarrow as pa

    runs, rid_rank = _ranks(connection, RUNS.name, "rid", _RUN_ID, limits.get(_RUN_ID))
    keys, kid_rank = _ranks(connection, "keys", "kid", _KEY, limits.get(_KEY))
    values = [c for c in wanted if c not in table.key]
    head = ", ".join(["-1", "-1", *(_HEADS.get(table.column(c).type, "0") for c in values)])
    chosen = ", ".join(["rid", "kid", *(name(c) for c in values)])
    inner = {c: v for c, v in limits.items() if c not in table.key}
    if _RUN_ID in limits:
        inner["rid"] = rid_rank.nonzero_keys
    if _KEY in limits:
        inner["kid"] = kid_rank.nonzero_keys
    parts = []
    for chunk in _chunks(inner) if all(len(v) for v in inner.values()) else ():
        terms, params = ["true"], []
        for column, some in chunk.items():
            term, bound = _among(name(column), some)
            terms.append(term)
            params += bound
        body = f"select {chosen} from {table.name} where {' and '.join(terms)}"
        parts.append(_headed(connection, head, body, params))
    if not parts:
        return table.schema.empty_table().select(wanted)
    found = pa.concat_tables(parts)
    rank = rid_rank.of(found.column(0))
    key_rank = kid_rank.of(found.column(1))
    found, rank, key_rank = _sorted(found, rank, key_rank, len(keys))
    columns = {c: found.column(i + 2) for i, c in enumerate(values)}
    if _RUN_ID in wanted:
        columns[_RUN_ID] = runs.take(pa.array(rank))
    if _KEY in wanted:
        columns[_KEY] = keys.take(pa.array(key_rank))
    return pa.table([columns[c] for c in wanted], names=wanted)


class _Ranks:
    """From a small integer to the place of its text in sorted order."""

    def __init__(self, numbers: np.ndarray[Any, Any]) -> None:
        import numpy as np

        self.nonzero_keys = numbers.tolist()
        self._rank = np.zeros(int(numbers.max(initial=0)) + 1, dtype=np.int64)
        self._rank[numbers] = np.arange(len(numbers))

    def of(self, column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
        ranks: np.ndarray[Any, Any] = self._rank[column.to_numpy()]
        return ranks


def _ranks(
    connection: Connection, table: str, number: str, text: str, among: Sequence[str] | None
) -> tuple[pa.Array, _Ranks]:
    import pyarrow as pa

    if among is None:
        found = connection.arrow(f"select {text}, {number} from {table} order by {text}")
    else:
        batch = pa.record_batch([pa.array(sorted(among), pa.string())], names=[text])
        found = connection.arrow(f"select {text}, {number} from {table} where {text} = ?", batch)
    texts = found.column(0).cast(pa.string()).combine_chunks()
    return texts, _Ranks(found.column(1).cast(pa.int64()).to_numpy())


def _sorted(
    found: pa.Table, rank: np.ndarray[Any, Any], key_rank: np.ndarray[Any, Any], keys: int
) -> tuple[pa.Table, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import numpy as np
    import pyarrow as pa

    place = rank * max(keys, 1) + key_rank
    if (place[1:] >= place[:-1]).all():
        return found, rank, key_rank
    order = np.argsort(place, kind="stable")
    return found.take(pa.array(order)), rank[order], key_rank[order]
