"""Which runs, in which order: a plan is chosen by looking at the indexes first.

SQLite plans with statistics that do not know a value's frequency, and no statistics know how two conditions hang
together. So the plan is chosen here, from bounded counts of index entries, and changed when it turns out to be wrong:

1. *Drive*: some condition holds for few runs: take these from its index, check the rest, sort.
2. *Walk*: follow the index of the first order key, check each run, and stop when enough are found. Cheap when many runs
   satisfy the conditions, hopeless when few do, so it is given up after some thousands of steps.
3. *Intersect*: read the run numbers of every condition that an index answers, combine them as bitmaps, and walk over
   what is left. Costs some 50 ns for every entry that is read, whatever the conditions are.

All of them only gather candidates: a set that holds the answer. The answer is cut from them by one statement with the
whole condition and the whole order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlrun.tables import PARAMS, RUNS
from mlrun.where.ast import Logic, names_in

from .sqlite_apply import lookup_numbers, top_of
from .sqlite_arrays import empty, numbers
from .sqlite_index import order_of, project_entries, sources
from .sqlite_memory import remembered
from .sqlite_walk import GaveUp, Walk
from .sqlite_where import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.contracts import RunQuery
    from mlrun.where.ast import Expr

    from .sqlite_connect import Connection
    from .sqlite_index import Entries, Order

__all__ = ["find"]

_FEW = 3_000  # runs that are checked and sorted in some milliseconds
_COUNTED = 20_000  # entries of an index that are counted: a millisecond
_SOME = 20_000  # runs that are sorted faster than an order is walked
_MOST_UNITED = 50  # SQLite unites up to 500 selects
_MOST_STEPS = 12_000  # of a walk that checks each run by itself
_RUN_ID = RUNS.key[0]
_ANSWER = pa.schema([(_RUN_ID, pa.string()), ("rid", pa.int64())])
_ENTRIES = 50  # entries of an index that are read as fast as one run is checked
_SURE = 64  # candidates that are checked faster than one more condition is read


def find(connection: Connection, query: RunQuery) -> pa.Table:
    """Return `run_id` and `rid` of the runs that `query` means, in its order."""
    found = empty(_ANSWER) if query.limit == 0 else _Search(connection, query).run()
    return found if found.schema == _ANSWER else found.cast(_ANSWER)


def _conjuncts(where: Expr | None) -> list[Expr]:
    if isinstance(where, Logic) and where.op == "and":
        return [c for t in where.terms for c in _conjuncts(t)]
    return [] if where is None else [where]


class _Search:
    """One query on one snapshot."""

    def __init__(self, connection: Connection, query: RunQuery) -> None:
        self._connection = connection
        self._query = query
        roots: list[Any] = [k.name for k in query.order_by]
        roots += [] if query.where is None else [query.where]
        keys = sorted({n.key for root in roots for n in names_in(root) if n.scope != "run"})
        self._kids = remembered(
            connection,
            ("kids", *keys),
            lambda: lookup_numbers(connection, "keys", "kid", PARAMS.key[1], keys),
        )
        self._counted: list[tuple[int, list[Entries]]] = []  # conditions that hold for few runs
        self._terms = _conjuncts(query.where)
        excluded = lookup_numbers(connection, "runs", "rid", _RUN_ID, sorted(query.exclude))
        self._excluded = json.dumps(sorted(excluded.values())) if excluded else None

    def run(self) -> pa.Table:
        self._top = top_of(self._connection)
        few, count, odds = self._survey()
        if self._query.limit is None:
            return self._answer(self._common(self._top // 2) if few is None else self._sharp(few))
        if self._top <= _FEW:
            return self._answer(None if few is None else self._sharp(few))
        need = self._query.limit + self._query.offset
        if few is not None and self._cost(count, odds) <= need * odds:
            return self._answer(self._sharp(few))
        order = order_of(self._query, self._terms, self._kids)
        if order is None or (order.rest and len(self._query.order_by) > 1):
            return self._answer(self._common(self._top // 2) if few is None else self._sharp(few))
        return self._answer(self._walked(order, need, few, count))

    def _survey(self) -> tuple[list[Entries] | None, int, float]:
        """Count the runs of every condition that an index answers, up to a bound.

        Returns:
            The stretches of the condition with the fewest runs, and how many (None and 0 when all hold for many); and
            how many runs a walk is expected to pass for one that satisfies all conditions.
        """
        found = [sources(t, self._kids) for t in self._terms]
        mine = project_entries(self._query)
        few: list[Entries] | None = None
        least, odds = _COUNTED, 1.0
        for entries in [*found, None if mine is None else [mine]]:
            if entries is None:
                continue
            count = sum(self._count(e) for e in entries)
            if count <= _COUNTED:
                odds *= self._top / max(count, 1)
                self._counted.append((count, entries))
            if count <= least:
                few, least = entries, count
        return few, 0 if few is None else least, odds

    def _cost(self, count: int, odds: float) -> float:
        """Return how many runs `_sharp` is expected to leave, what it reads of indexes counted in checks of a run."""
        read = self._readable()
        if len(read) < 2 or count <= _SURE:
            return count
        return self._top / odds + sum(c for c, _ in read) / _ENTRIES

    def _readable(self) -> list[tuple[int, list[Entries]]]:
        """Return the conditions whose entries are worth reading, the rarest first."""
        return sorted((c for c in self._counted if 2 * c[0] <= self._top), key=lambda c: c[0])

    def _sharp(self, few: list[Entries]) -> np.ndarray[Any, Any] | list[Entries]:
        """Return the runs that several conditions leave: reading an index costs less than checking runs one by one."""
        read = self._readable()
        if len(read) < 2 or read[0][0] <= _SURE:
            return few
        bits = self._bitmap(read[0][1])
        for _, entries in read[1:]:
            bits &= self._bitmap(entries)
            if np.count_nonzero(bits) <= _SURE:
                break
        return bits.nonzero()[0]

    def _count(self, entries: Entries) -> int:
        def find() -> int:
            [(count,)] = self._connection.rows(
                f"select count(*) from (select 1 from {entries.table} where {entries.where} limit {_COUNTED + 1})",
                entries.values,
            )
            return int(count)

        return remembered(self._connection, entries, find)

    def _walked(
        self, order: Order, need: int, few: list[Entries] | None, count: int
    ) -> np.ndarray[Any, Any] | list[Entries] | None:
        query = self._query
        walk = Walk(
            self._connection,
            order,
            self._checks,
            single=len(query.order_by) == 1,
            picky=query.where is not None,
        )
        try:
            return walk.candidates(need, steps=_MOST_STEPS if few is None else count)
        except GaveUp:
            if few is not None:
                return self._sharp(few)
        common = self._common(self._top)
        if common is None or len(common) <= _SOME:
            return common
        return walk.candidates(need, among=common)

    def _common(self, most: int) -> np.ndarray[Any, Any] | None:
        """Return the runs that satisfy all conditions that indexes answer; None if that is no help."""
        bits: np.ndarray[Any, Any] | None = None
        for term in self._terms:
            entries = sources(term, self._kids)
            if entries is not None:
                mine = self._bitmap(entries)
                bits = mine if bits is None else bits & mine
        if bits is None:
            return None
        found = bits.nonzero()[0]
        return found if len(found) <= most else None

    def _bitmap(self, entries: Sequence[Entries]) -> np.ndarray[Any, Any]:

        bits = np.zeros(self._top + 1, dtype=bool)
        for e in entries:
            found = self._connection.arrow(f"select rid from {e.table} where {e.where}", e.values)
            if found.num_rows:
                bits[numbers(found.column(0))] = True
        return bits

    def _checks(self, scope: Scope | None = None) -> tuple[str, Scope]:
        """Return the whole condition on `runs r`, and the scope that holds its values."""
        query = self._query
        scope = scope or Scope(self._kids, query.now_us)
        parts = ["r.present"]
        if not query.children:
            parts.append("r.parent is null")
        if not query.archived:
            parts.append("r.archived_at is null")
        if not query.deleted:
            parts.append("r.deleted_at is null")
        if query.project is not None:
            parts.append(f"r.project = {scope.bound(query.project)}")
        if self._excluded is not None:
            parts.append(
                f"r.rid not in (select value from json_each({scope.bound(self._excluded)}))"
            )
        if query.where is not None:
            parts.append(scope.condition(query.where))
        return " and ".join(parts), scope

    def _answer(self, among: np.ndarray[Any, Any] | list[Entries] | None) -> pa.Table:
        """Check, sort and cut: candidates, or all runs if None."""
        query = self._query
        checks, scope = self._checks()
        behind = "runs r"
        if isinstance(among, list) and len(among) > _MOST_UNITED:
            among = self._bitmap(among).nonzero()[0]
        if isinstance(among, list):
            united = (
                " union ".join(_select(e, scope) for e in among) or "select 0 as rid where false"
            )
            behind = f"({united}) c cross join runs r on r.rid = c.rid"
        elif among is not None:
            listed = scope.bound(json.dumps(among.tolist()))
            behind = f"json_each({listed}) c cross join runs r on r.rid = c.value"
        sql = f"select r.{_RUN_ID}, r.rid from {behind} where {checks} order by {scope.order(query.order_by)}"
        if query.limit is not None or query.offset:
            limit = -1 if query.limit is None else query.limit
            sql += f" limit {scope.bound(limit)} offset {scope.bound(query.offset)}"
        return self._connection.arrow(*scope.bound.used(sql))


def _select(entries: Entries, scope: Scope) -> str:
    return (
        f"select rid from {entries.table} where {scope.bound.fill(entries.where, entries.values)}"
    )
