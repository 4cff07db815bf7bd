"""Loading Arrow tables: imports, copies, a million runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import SchemaMismatch
from mlrun.tables import PARAMS, RUNS, TAGS, conform

from .recordplan import decoded, labels_of
from .sqlite_apply import numbers_of, put_statement
from .sqlite_arrays import arrow_of
from .sqlite_connect import transaction
from .sqlite_schema import KEYED, indexes, make_indexes, name

if TYPE_CHECKING:
    import pyarrow as pa

    from mlrun.tables import Table

    from .sqlite_connect import Connection

__all__ = ["load"]

_BATCH = 262_144
_REBUILD = (
    50_000  # rows from which building an index anew costs less than keeping it while they come
)
_RUN_ID = RUNS.key[0]


def load(connection: Connection, table: Table, data: Any) -> None:
    """Put all rows of `data` in one transaction; see `SQLiteRecords.load`."""
    parts = iter([data] if _is_one(data) else data)
    first = next(parts, None)
    if first is None:
        return
    rows = conform(_with_forms(first, table), table)
    with transaction(connection):
        anew = _is_most(connection, table, rows.num_rows)
        if anew:
            for index in indexes(table):
                connection.execute(f"drop index {index}")
        _put(connection, table, rows)
        for part in parts:
            _put(connection, table, conform(_with_forms(part, table), table))
        if anew:
            make_indexes(connection, table)


def _is_one(data: Any) -> bool:
    """Whether it is one table, of whatever library, and not several."""
    return isinstance(data, dict) or hasattr(data, "__arrow_c_stream__")


def _put(connection: Connection, table: Table, rows: pa.Table) -> None:
    if not rows.num_rows:
        return
    ready, targets = _physical(connection, table, rows)
    statement = put_statement(table, targets)
    for batch in ready.to_batches(max_chunksize=_BATCH):
        connection.executemany(statement, batch)
    if table is RUNS:
        _load_labels(connection, rows)


def _is_most(connection: Connection, table: Table, rows: int) -> bool:
    if rows < _REBUILD:
        return False
    [(stored,)] = connection.rows(
        f"select count(*) from (select 1 from {table.name} limit {2 * rows})"
    )
    return int(stored) < 2 * rows


def _with_forms(data: Any, table: Table) -> Any:
    """Add the decoded forms of JSON values where they are left out; each different value is decoded once."""
    import pyarrow as pa

    arrow = data if isinstance(data, pa.Table) else pa.table(data)
    forms = [c.name for c in table.columns if c.hidden and c.name in ("num", "text")]
    if not forms or "value" not in arrow.column_names or set(forms) & set(arrow.column_names):
        return arrow
    coded = arrow.column("value").combine_chunks().cast(pa.string()).dictionary_encode()
    found = [decoded(v) for v in coded.dictionary.to_pylist()]
    for form in forms:
        values = arrow_of([f[form] for f in found]).cast(table.schema.field(form).type)
        arrow = arrow.append_column(form, values.take(coded.indices))
    return arrow


def _physical(connection: Connection, table: Table, rows: pa.Table) -> tuple[pa.Table, list[str]]:
    """Return rows as they lie in the file, in the order of its key, and the names of their columns."""
    import pyarrow as pa

    columns = {name(c): _plain(rows.column(c)) for c in table.names}
    if table is RUNS:
        columns["present"] = arrow_of([1] * rows.num_rows)
    if table is TAGS or table in KEYED:
        numbers = {"rid": _numbers(connection, "runs", "rid", _RUN_ID, columns.pop(name(_RUN_ID)))}
        if table in KEYED:
            key = table.key[1]
            numbers["kid"] = _numbers(connection, "keys", "kid", key, columns.pop(name(key)))
        columns = numbers | columns
        made = pa.table(columns)
        order = [(c, "ascending") for c in ("rid", "kid" if table in KEYED else name("tag"))]
        return made.sort_by(order), list(columns)
    return pa.table(columns), list(columns)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times as microseconds and booleans as integers: what SQLite holds."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) or pa.types.is_boolean(column.type):
        return column.cast(pa.int64())
    return column


def _numbers(
    connection: Connection, table: str, number: str, text: str, column: pa.ChunkedArray
) -> pa.Array:
    """Return the number of each text, making those that are new."""
    import pyarrow as pa

    coded = column.combine_chunks().dictionary_encode()
    texts = pa.record_batch([coded.dictionary], names=[text])
    connection.executemany(f"insert or ignore into {table} ({text}) values (?)", texts)
    found = connection.arrow(f"select {number} from {table} where {text} = ?", texts)
    if found.num_rows != len(coded.dictionary):
        raise SchemaMismatch(f"some {text} has no place in {table}")
    return found.column(0).combine_chunks().cast(pa.int64()).take(coded.indices)


def _load_labels(connection: Connection, rows: pa.Table) -> None:
    """Take the labels apart; runs share few different label texts, so each text is read once."""
    import pyarrow as pa

    coded = rows.column("labels").combine_chunks().dictionary_encode()
    read = [labels_of(text) for text in coded.dictionary.to_pylist()]
    rids = _numbers(connection, RUNS.name, "rid", _RUN_ID, rows.column(_RUN_ID))
    connection.executemany(
        "delete from labels where rid = ?", pa.record_batch([rids], names=["rid"])
    )
    kids = numbers_of(connection, "keys", "kid", PARAMS.key[1], {k for some in read for k in some})
    forms = [[(kids[k], v, *decoded(v).values()) for k, v in some.items()] for some in read]
    made = [
        (rid, *form)
        for rid, place in zip(rids.to_pylist(), coded.indices.to_pylist(), strict=True)
        if place is not None
        for form in forms[place]
    ]
    statement = (
        "insert into labels (rid, kid, value, type, num, text) values (?1, ?2, ?3, '', ?4, ?5)"
    )
    connection.executemany(statement, made)
