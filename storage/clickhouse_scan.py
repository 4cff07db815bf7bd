"""Rows of a table up to a commit, as SQL: what a filter means, and which rows were deleted by then."""

from __future__ import annotations

import json
import time
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlrun.contracts import PointFilter
from mlrun.errors import QueryError

from .clickhouse_client import name
from .clickhouse_schema import DATA, FREED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlrun.tables import Table

    from .clickhouse_log import State, TableLog

__all__ = ["SAFE_SECONDS", "Clauses", "count", "cut_text", "read"]

SAFE_SECONDS = 60.0
_HASTE = 10.0  # from the look to the start of the query, at most
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


class Clauses:
    """Conditions that all hold, with the values that they bind.

    Attributes:
        params: parameter to value.
        nothing: whether no row can match.
    """

    def __init__(self) -> None:
        self._all: list[str] = []
        self.params: dict[str, Any] = {}
        self.nothing = False

    def add(self, sql: str, **values: Any) -> None:
        """Add a condition; it names its values as `{word:Type}`."""
        self._all.append(sql)
        self.params |= values

    def add_members(self, column: str, values: Sequence[Any]) -> None:
        """Let a column have one of some values; text that cannot be stored matches nothing."""
        texts = all(isinstance(v, str) for v in values)
        wanted = [v for v in values if not isinstance(v, str) or _is_storable(v)]
        self.nothing |= not wanted
        kind = "String" if texts else "Int64"
        word = f"in_{len(self.params)}"
        if len(wanted) == 1:  # read by the primary key as closely as can be
            self.add(f"{name(column)} = {{{word}:{kind}}}", **{word: wanted[0]})
        elif wanted:
            self.add(f"{name(column)} IN {{{word}:Array({kind})}}", **{word: sorted(wanted)})

    def add_bound(self, column: str, sign: str, value: int, *, instant: bool) -> None:
        """Compare a whole number or (`instant`) a time in microseconds with a value."""
        word = f"at_{len(self.params)}"
        bound = f"{{{word}:Int64}}"
        bound = f"fromUnixTimestamp64Micro({bound}, 'UTC')" if instant else bound
        self.add(f"{name(column)} {sign} {bound}", **{word: min(max(value, _LEAST), _MOST)})

    def add_filter(self, where: PointFilter, table: Table) -> None:
        """Add what a filter means; QueryError when the table has no such column."""
        for column, values in (
            ("run_id", where.run_ids),
            ("key", where.keys),
            ("level", where.levels),
        ):
            if values is not None:
                _known(column, table)
                self.add_members(column, list(dict.fromkeys(values)))
        for kind, (low, high) in (("step", where.steps), ("time", where.times)):
            single = kind in table.names
            for sign, value, end in ((">=", low, "last"), ("<=", high, "first")):
                if value is not None:
                    column = kind if single else f"{end}_{kind}"
                    _known(column, table)
                    self.add_bound(column, sign, value, instant=kind == "time")

    def add_gone(self, gone: Mapping[str, int]) -> None:
        """Leave out rows of runs up to a commit."""
        if gone:
            self.add(
                "mlrun_commit > transform(run_id, {gone:Array(String)}, {gone_at:Array(UInt64)}, toUInt64(0))",
                gone=list(gone),
                gone_at=list(gone.values()),
            )

    def add_cuts(
        self, cuts: Mapping[str, int], table: Table, run_ids: Sequence[str] | None = None
    ) -> None:
        """Leave out rows up to a commit that match a filter, for each of some (see `cut_text`).

        Args:
            cuts: filter to commit.
            table: whose rows.
            run_ids: only rows of these runs can match in any case; None for all.
        """
        for text, commit in cuts.items():
            inner = Clauses()
            inner.params = self.params  # one namespace
            where = _cut(text)
            if run_ids is not None and where.run_ids is not None:
                where = replace(where, run_ids=tuple(set(where.run_ids) & set(run_ids)))
            inner.add_filter(where, table)
            if not inner.nothing:
                word = f"cut_{len(self.params)}"
                inner.add(f"mlrun_commit <= {{{word}:UInt64}}", **{word: commit})
                self.add(f"NOT ({inner.sql()})")

    def add_sight(self, log: TableLog, state: State, run_ids: Sequence[str] | None = None) -> None:
        """Show data rows up to a commit and not deleted by then; raise if some of them were freed meanwhile.

        Rows that were deleted within `SAFE_SECONDS` are never freed, so that a young snapshot need not ask.
        """
        self.add(f"mlrun_kind = {DATA} AND mlrun_commit <= {{upto:UInt64}}", upto=state.commit)
        gone = state.gone
        if run_ids is not None:
            gone = {r: gone[r] for r in run_ids if r in gone}
        self.add_gone(gone)
        self.add_cuts(state.cuts, log.table, run_ids)
        if time.monotonic() - state.looked > SAFE_SECONDS - _HASTE:
            self.add(
                f"throwIf((SELECT max(mlrun_number) FROM {log.name} WHERE mlrun_kind = {FREED}) > {{upto:UInt64}}) = 0"
            )

    def sql(self) -> str:
        """Return the conditions, to stand behind `WHERE`."""
        return " AND ".join(self._all)


def read(
    log: TableLog, state: State, clauses: Clauses, columns: Sequence[str]
) -> pa.RecordBatchReader:
    """Stream the rows that match, with `columns` in the table's types.

    Raises:
        SnapshotExpired: rows that were deleted later than the state have been freed.
        Disconnected: the server is gone.
    """
    schema = pa.schema([log.table.schema.field(c) for c in columns])
    if not state.commit or clauses.nothing:
        return pa.RecordBatchReader.from_batches(schema, iter(()))
    wanted = ", ".join(name(c) for c in columns)
    sql = f"SELECT {wanted} FROM {log.name} WHERE {clauses.sql()}"
    return pa.RecordBatchReader.from_batches(
        schema, _typed(log.client.stream(sql, clauses.params), schema)
    )


def count(log: TableLog, state: State, clauses: Clauses) -> int:
    """Return how many rows match."""
    if not state.commit or clauses.nothing:
        return 0
    sql = f"SELECT toInt64(count()) AS number FROM {log.name} WHERE {clauses.sql()}"
    [(number,)] = log.client.rows(sql, clauses.params)
    return int(number)


def cut_text(where: PointFilter) -> str:
    """Return a filter as the log holds it."""
    return json.dumps(astuple(where))


def _cut(text: str) -> PointFilter:
    run_ids, keys, steps, times, levels = json.loads(text)
    some = [None if v is None else tuple(v) for v in (run_ids, keys, levels)]
    return PointFilter(some[0], some[1], tuple(steps), tuple(times), some[2])


def _typed(batches: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = [
            c if c.type == f.type else c.cast(f.type)
            for c, f in zip(batch.columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _known(column: str, table: Table) -> None:
    if column not in table.names:
        raise QueryError(f"table {table.name!r} has no column {column!r} to filter by")


def _is_storable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
