"""One snapshot, in Arrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlrun.errors import SchemaMismatch, StoreClosed
from mlrun.tables import PARAMS, RUNS, TAGS

from .sqlite_apply import read_marks, top_of
from .sqlite_arrays import arrow_of, empty, indices, numbers
from .sqlite_memory import remembered
from .sqlite_schema import KEYED, name, source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlrun.contracts import Mark, RunQuery
    from mlrun.tables import Table

    from .sqlite_connect import Connection

__all__ = ["View"]

_HOLES = 1000
_FEW = 8  # values that are bound one by one
_SMALL = 65_536  # bytes of an answer that is worth keeping
_RUN_ID, _KEY = PARAMS.key
_STATE = "state"
# The driver takes types from the first rows, so a row of the right types stands before all.
_HEADS = {"string": "''", "json": "''", "float64": "0.5"}


class View:
    """All tables and marks as they are at one instant; see `mlrun.contracts.RecordsView`."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._marks = remembered(connection, "marks", lambda: read_marks(connection))
        self._ranked: dict[Any, tuple[pa.Array, _Ranks]] = {}
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
        wanted = list(table.names if columns is None else columns)
        if unknown := {*wanted, *(where or ())} - set(table.names):
            raise SchemaMismatch.of(table.name, unknown=unknown)
        schema = pa.schema([table.schema.field(c) for c in wanted])
        limits = {c: list(dict.fromkeys(values)) for c, values in (where or {}).items()}
        if not all(limits.values()):
            return empty(schema)
        # which runs are open, and what is stored of a live one, is asked before every question
        if set(limits) == {_STATE} or (set(limits) == {_RUN_ID} and len(limits[_RUN_ID]) <= _FEW):
            fact = (table.name, *wanted, *((c, *v) for c, v in limits.items()))
            found = remembered(
                self.connection,
                fact,
                lambda: self._scan(table, wanted, limits),
                worth=lambda rows: rows.nbytes <= _SMALL,
            )
        else:
            found = self._scan(table, wanted, limits)
        return found.cast(schema) if found.schema != schema else found

    def _scan(
        self, table: Table, wanted: list[str], limits: Mapping[str, Sequence[Any]]
    ) -> pa.Table:
        if table in KEYED:
            return _scan_keyed(self.connection, table, wanted, limits, self._ranked, self._rids)
        return _scan_plain(self.connection, table, wanted, limits, self._rids)

    def find(self, query: RunQuery) -> pa.Table:
        """Return the ids of the runs that the query means, in its order."""
        from .sqlite_find import find

        found = find(self.connection, query)
        ids = found.select([_RUN_ID])
        if found.num_rows <= _HOLES:
            self._rids = dict(
                zip(ids.column(0).to_pylist(), found.column(1).to_pylist(), strict=True)
            )
        return ids


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
    holes, params = ", ".join("?" * len(some)), some
    if len(some) > _FEW and all(map(_is_plain, some)):
        # every parameter is a column of its own to bind: many of them go as one text
        holes, params = "select value from json_each(?)", [json.dumps(some)]
    terms = [f"{expression} in ({holes})"] if some else []
    if len(some) < len(values):
        terms.append(f"{expression} is null")
    return f"({' or '.join(terms)})", params


def _is_plain(value: Any) -> bool:
    """Whether SQLite's JSON gives the value back as it was: integers, and text of printable ASCII."""
    return type(value) is int or (
        isinstance(value, str) and value.isascii() and value.isprintable()
    )


def _all_among(limits: Mapping[str, Sequence[Any]]) -> tuple[str, list[Any]]:
    """Return the condition that every expression has one of its values, and the parameters."""
    parts = [_among(expression, values) for expression, values in limits.items()]
    return " and ".join(["true", *(p[0] for p in parts)]), [v for p in parts for v in p[1]]


def _bindable(value: Any) -> Any:
    if hasattr(value, "timestamp"):  # a datetime: microseconds are exact in integers only
        from datetime import UTC, datetime, timedelta

        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return value


def _scan_plain(
    connection: Connection,
    table: Table,
    wanted: list[str],
    limits: Mapping[str, Sequence[Any]],
    rids: Mapping[str, int],
) -> pa.Table:
    """Read any other table; runs that were just found are looked up by their number, `rids`."""
    expressions, behind = source(table)
    read = list(dict.fromkeys((*wanted, *table.key)))
    heads = (_HEADS.get(table.column(c).type, "0") for c in read)
    head = ", ".join(f"{h} as {name(c)}" for h, c in zip(heads, read, strict=True))
    chosen = ", ".join(f"{expressions[c]} as {name(c)}" for c in read)
    order = ", ".join(expressions[k] for k in table.key)
    kept = None
    if _RUN_ID in limits and _is_most(connection, len(limits[_RUN_ID])):
        kept = arrow_of(limits[_RUN_ID])
        limits = {c: v for c, v in limits.items() if c != _RUN_ID}
    bounds = {expressions[c]: v for c, v in limits.items()}
    if table in (RUNS, TAGS) and rids and all(r in rids for r in limits.get(_RUN_ID, ("",))):
        bounds["t.rid"] = [rids[r] for r in bounds.pop(expressions[_RUN_ID])]
    parts = []
    for chunk in _chunks(bounds):
        terms, params = _all_among(chunk)
        body = f"select {chosen} from {behind} and {terms} order by {order}"
        sql = f"select * from (select {head}) union all select * from ({body})"
        few = len(limits.get(_RUN_ID, ())) in range(1, _HOLES)
        parts.append(connection.arrow(sql, params, few=few).slice(1))
    found = pa.concat_tables(parts)
    if kept is not None:
        found = found.filter(_is_in(found.column(_RUN_ID), kept))
    if len(parts) > 1:
        found = found.sort_by([(k, "ascending") for k in table.key])
    return found.select(wanted)


def _is_in(column: pa.ChunkedArray, values: pa.Array) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.is_in(column, value_set=values)


def _scan_keyed(
    connection: Connection,
    table: Table,
    wanted: list[str],
    limits: Mapping[str, Sequence[Any]],
    ranked: dict[Any, tuple[pa.Array, _Ranks]],
    rids: Mapping[str, int],
) -> pa.Table:
    """Read one of the three long tables: integers from SQLite, their texts put in here.

    `ranked` keeps the texts of a snapshot: its three long tables are mostly read for the same runs, and mostly for
    those just found, whose numbers are `rids`.
    """
    found_ranks = []
    for source_table, number, text in ((RUNS.name, "rid", _RUN_ID), ("keys", "kid", _KEY)):
        among = limits.get(text)
        mark = (text, None if among is None else tuple(among))
        if mark not in ranked:
            if text == _KEY and among is None:
                ranked[mark] = remembered(
                    connection, "keys", lambda: _ranks(connection, "keys", "kid", _KEY, None)
                )
            elif text == _RUN_ID and rids and among is not None and all(r in rids for r in among):
                texts = sorted(among)
                ranked[mark] = arrow_of(texts), _Ranks(np.array([rids[r] for r in texts]))
            else:
                ranked[mark] = _ranks(connection, source_table, number, text, among)
        found_ranks.append(ranked[mark])
    (runs, run_rank), (keys, key_rank) = found_ranks
    values = [c for c in wanted if c not in table.key]
    inner = {name(c): v for c, v in limits.items() if c not in table.key}
    if _RUN_ID in limits and not _is_most(connection, len(runs)):
        inner["rid"] = run_rank.numbers
    if _KEY in limits:
        inner["kid"] = key_rank.numbers
    if not all(inner.values()):
        return empty(table.schema).select(wanted)
    heads = ["-1", "-1", *(_HEADS.get(table.column(c).type, "0") for c in values)]
    head = ", ".join(f"{h} as c{i}" for i, h in enumerate(heads))
    chosen = ", ".join(["rid", "kid", *(name(c) for c in values)])
    parts = []
    for chunk in _chunks(inner):
        terms, params = _all_among(chunk)
        body = f"select {chosen} from {table.name} where {terms}"
        parts.append(connection.arrow(f"select {head} union all {body}", params).slice(1))
    found, ranks, key_ranks = _sorted(pa.concat_tables(parts), run_rank, key_rank)
    columns = {c: found.column(i + 2) for i, c in enumerate(values)}
    if _RUN_ID in wanted:
        columns[_RUN_ID] = runs.take(indices(ranks))
    if _KEY in wanted:
        columns[_KEY] = keys.take(indices(key_ranks))
    return pa.table([columns[c] for c in wanted], names=wanted)


def _is_most(connection: Connection, runs: int) -> bool:
    """Whether reading everything is faster than looking up so many runs."""
    if runs < _HOLES:
        return False
    return runs * 8 > top_of(connection)


class _Ranks:
    """From a small integer to the place of its text in sorted order; -1 for what is not asked for."""

    def __init__(self, given: np.ndarray[Any, Any]) -> None:

        self.numbers = given.tolist()
        self._top = int(given.max(initial=0))
        self._rank = np.full(self._top + 2, -1, dtype=np.int64)
        self._rank[given] = np.arange(len(given))

    def of(self, column: pa.ChunkedArray) -> np.ndarray[Any, Any]:

        ranks: np.ndarray[Any, Any] = self._rank[np.minimum(numbers(column), self._top + 1)]
        return ranks


def _ranks(
    connection: Connection, table: str, number: str, text: str, among: Sequence[str] | None
) -> tuple[pa.Array, _Ranks]:

    if among is None:
        found = connection.arrow(f"select {text}, {number} from {table} order by {text}")
    else:
        batch = pa.record_batch([arrow_of(sorted(among))], names=[text])
        found = connection.arrow(f"select {text}, {number} from {table} where {text} = ?", batch)
    texts = found.column(0).cast(pa.string()).combine_chunks()
    return texts, _Ranks(numbers(found.column(1)))


def _sorted(
    found: pa.Table, run_rank: _Ranks, key_rank: _Ranks
) -> tuple[pa.Table, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return what was asked for in key order, with the ranks of run and key."""
    runs, keys = run_rank.of(found.column(0)), key_rank.of(found.column(1))
    asked = runs >= 0
    if not asked.all():
        found, runs, keys = found.take(indices(asked.nonzero()[0])), runs[asked], keys[asked]
    place = runs * (len(key_rank.numbers) + 1) + keys
    if (place[1:] < place[:-1]).any():
        order = np.argsort(place, kind="stable")
        found, runs, keys = found.take(indices(order)), runs[order], keys[order]
    return found, runs, keys
