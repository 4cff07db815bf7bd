"""Loading Arrow tables by COPY: imports, copies, a million runs at once.

Rows go into a temporary table as they are, and from there, by one statement of the server, into their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlrun.errors import SchemaMismatch
from mlrun.tables import PARAMS, RUNS, TAGS, conform

from .postgres_apply import VALUE_DOC, VALUE_FORMS, put_statement
from .postgres_schema import KEYED, VALUED, indexes, name
from .recordplan import LABELS, decoded, labels_of

if TYPE_CHECKING:
    from mlrun.tables import Table

    from .postgres_connect import Connection

__all__ = ["load"]

_RUN_ID, _KEY = PARAMS.key
_STAGE = "stage"
_REBUILD = (
    50_000  # rows from which building an index anew costs less than keeping it while they come
)
_LATEST = 1 << 61


def load(connection: Connection, table: Table, data: Any) -> None:
    """Put all rows of `data` in the transaction that has begun; see `PostgresRecords.load`."""
    parts = iter([data] if isinstance(data, dict) or hasattr(data, "__arrow_c_stream__") else data)
    first = next(parts, None)
    if first is None:
        return
    rows = conform(_with_forms(first, table), table)
    anew = _is_most(connection, table, rows.num_rows)
    if anew:
        for index in indexes(table):
            connection.execute(f"drop index {index}")
    _put(connection, table, rows)
    for part in parts:
        _put(connection, table, conform(_with_forms(part, table), table))
    if anew:
        for index, where in indexes(table).items():
            connection.execute(f"create index {index} on {where}")
    for read in (table.name, "runs", "keys", *(["labels"] if table is RUNS else [])):
        connection.execute(f"analyze {read}")  # plans are made with what it finds


def _is_most(connection: Connection, table: Table, rows: int) -> bool:
    if rows < _REBUILD:
        return False
    [(stored,)] = connection.rows(
        f"select count(*) from (select from {table.name} limit $1::int8) t", [2 * rows]
    )
    return int(stored) < 2 * rows


def _with_forms(data: Any, table: Table) -> pa.Table:
    """Add the decoded forms of JSON values where they are left out; each different value is decoded once."""
    arrow = data if isinstance(data, pa.Table) else pa.table(data)
    forms = [c.name for c in table.columns if c.hidden and c.name in ("num", "text")]
    if not forms or "value" not in arrow.column_names or set(forms) & set(arrow.column_names):
        return arrow
    coded = arrow.column("value").combine_chunks().cast(pa.string()).dictionary_encode()
    found = [decoded(v) for v in coded.dictionary.to_pylist()]
    for form in forms:
        kind = table.schema.field(form).type
        values = pa.array([f[form] for f in found], kind, from_pandas=True)
        arrow = arrow.append_column(form, values.take(coded.indices))
    return arrow


def _put(connection: Connection, table: Table, rows: pa.Table) -> None:
    if not rows.num_rows:
        return
    connection.copy(_STAGE, pa.table({c: _plain(table, c, rows) for c in table.names}))
    try:
        _put_staged(connection, table)
        if table is RUNS:
            _put_labels(connection, rows)
    finally:
        connection.execute(f"drop table if exists pg_temp.{_STAGE}")


def _put_staged(connection: Connection, table: Table) -> None:
    targets = list(table.names)
    chosen = {c: f"u.{name(c)}" for c in targets}
    behind = f"pg_temp.{_STAGE} u"
    if table in (*KEYED, LABELS, TAGS):
        _number(connection, "runs", _RUN_ID)
        targets[0], chosen["rid"] = "rid", "r.rid"
        behind += f" join runs r on r.{_RUN_ID} = u.{_RUN_ID}"
    if table in (*KEYED, LABELS):
        _number(connection, "keys", _KEY)
        targets[1], chosen["kid"] = "kid", "k.kid"
        behind += f" join keys k on k.{_KEY} = u.{_KEY}"
    if table in VALUED:
        targets.append("raw")
        chosen |= VALUE_FORMS
        behind += f" cross join lateral (select {VALUE_DOC}) d"
    if table is RUNS:
        targets.append("present")
        chosen["present"] = "true"
    order = " order by 1, 2" if table in (*KEYED, LABELS) else " order by 1"
    rows = f"select {', '.join(chosen[c] for c in targets)} from {behind}{order}"
    connection.execute(put_statement(table, targets, rows))


def _number(connection: Connection, table: str, column: str) -> None:
    """Give a number to every text that has none, in the order of the texts."""
    connection.execute(
        f'insert into {table} ({column}) select distinct u.{column} collate "C" from pg_temp.{_STAGE} u '
        f"where not exists (select from {table} t where t.{column} = u.{column}) order by 1 "
        f"on conflict (digest({column})) do nothing"
    )


def _plain(table: Table, column: str, rows: pa.Table) -> pa.ChunkedArray:
    """Return times as microseconds, numbers without NaN: what the tables hold."""
    import pyarrow.compute as pc

    found = rows.column(column)
    if pa.types.is_floating(found.type):
        return pc.if_else(pc.is_nan(found), None, found)
    if not pa.types.is_timestamp(found.type):
        return found
    found = found.cast(pa.int64())
    extremes = pc.min_max(found).as_py()
    if any(abs(v or 0) > _LATEST for v in extremes.values()):
        raise SchemaMismatch.of(table.name, why=f"column {column!r} holds no time that can be")
    return found


def _put_labels(connection: Connection, rows: pa.Table) -> None:
    """Take the labels apart; runs share few different label texts, so each text is read once."""
    connection.execute(
        f"delete from labels using runs r, pg_temp.{_STAGE} u where labels.rid = r.rid and r.{_RUN_ID} = u.{_RUN_ID}"
    )
    coded = rows.column("labels").combine_chunks().dictionary_encode()
    read = [list(labels_of(text).items()) for text in coded.dictionary.to_pylist()]
    made = [
        (run_id, *pair)
        for run_id, place in zip(
            rows.column(_RUN_ID).to_pylist(), coded.indices.to_pylist(), strict=True
        )
        if place is not None
        for pair in read[place]
        if not any("\\u0000" in t or "\0" in t for t in pair)
    ]
    if made:
        connection.execute(f"drop table pg_temp.{_STAGE}")
        ids, keys, values = zip(*made, strict=True)
        given = {_RUN_ID: ids, _KEY: keys, "value": values, "type": [""] * len(made)}
        forms = _with_forms(pa.table(given), LABELS)
        connection.copy(_STAGE, conform(forms, LABELS))
        _put_staged(connection, LABELS)
