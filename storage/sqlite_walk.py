"""Following an index in the order of its values, until enough runs are found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .sqlite_arrays import numbers
from .sqlite_index import RUN_IDS, Entries
from .sqlite_where import some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from .sqlite_connect import Connection
    from .sqlite_index import Order
    from .sqlite_where import Scope

    Block = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Any, int]

__all__ = ["GaveUp", "Walk"]

_FIRST, _LEAST = 512, 32
_STRIDE = 65_536
_LONG_TIE = 1_024
_NO_RID = (1 << 63) - 1


class GaveUp(Exception):
    """A walk passed as many runs as it was allowed to, and had not found enough."""


class Walk:
    """Gathers the first runs of an order.

    Args:
        connection: to read from.
        order: the stretches to follow.
        checks: makes the whole condition on `runs r`, and the scope that holds its values.
        single: no other key decides among runs of one value, only their run id.
        picky: there are conditions that many runs may not satisfy.
    """

    def __init__(
        self,
        connection: Connection,
        order: Order,
        checks: Callable[[], tuple[str, Scope]],
        *,
        single: bool,
        picky: bool = True,
    ) -> None:
        self._connection = connection
        self._order = order
        self._checks = checks
        self._single = single
        self._picky = picky

    def candidates(
        self, need: int, *, steps: int | None = None, among: np.ndarray[Any, Any] | None = None
    ) -> np.ndarray[Any, Any]:
        """Return rids that hold the first `need` runs; more of them where the order's first key does not decide.

        Args:
            need: how many runs are wanted.
            steps: how many entries may be passed; None for any number.
            among: rids that are worth a check; None for all.

        Raises:
            GaveUp: these steps were not enough.
        """
        found = np.array([], dtype=np.int64)
        passed = 0
        ways = [(s, self._order.descending) for s in self._order.stretches]
        if self._order.rest:
            ways.append((RUN_IDS, True))
        for stretch, descending in ways:
            new = [found]
            held, tied, edge = len(found), 0, None
            for rids, values, last, count in self._blocks(stretch, descending, among, need):
                fresh = ~np.isin(rids, found if last is not None else np.concatenate(new))
                new.append(rids[fresh])
                held += len(new[-1])
                # a later entry may equal the last one, and its run come first: these are not certain yet
                tied = int((values[fresh] == last).sum()) + (tied if last == edge else 0)
                edge = last
                passed += count
                if held - tied >= need:
                    return np.concatenate(new)
                if steps is not None and passed > steps:
                    raise GaveUp
            found = np.concatenate(new)
            if len(found) >= need:
                break
        return found

    def _blocks(
        self,
        stretch: Entries,
        descending: bool,
        among: np.ndarray[Any, Any] | None,
        need: int,
    ) -> Iterator[Block]:
        """Yield rids and values of runs that satisfy all conditions; the last value passed; how many were passed.

        The last value is None where all that matters of the runs passed is yielded.
        """
        size: int = self._first(need) if among is None else _STRIDE
        last: tuple[Any, Any] | None = None
        bits = None if among is None else _bits(among)
        while True:
            page = self._page(stretch, descending, size, last, checked=bits is None)
            if page.num_rows == 0:
                return
            rids, values = numbers(page.column(0)), _values(page.column(1))
            if bits is None:
                good = numbers(page.column(2)) == 1
                yield rids[good], values[good], values[-1], len(rids)
            else:
                yield from self._sifted(rids, values, bits)
            if page.num_rows < size:
                return
            last = (values[-1], rids[-1])
            if bits is None and self._single and size >= _LONG_TIE and values[0] == values[-1]:
                newest = self._newest(stretch, values[-1], need)
                yield newest, np.full(len(newest), values[-1]), None, 0
                last = (values[-1], -1 if descending else _NO_RID)
            size = min(size * 2, _STRIDE)

    def _first(self, need: int) -> int:
        """Return how many entries to read at first: hardly more than are needed where nearly all runs are good."""
        return _FIRST if self._picky else min(max(need + need // 4, _LEAST), _FIRST)

    def _newest(self, stretch: Entries, value: Any, need: int) -> np.ndarray[Any, Any]:
        """Return the newest runs that have one value: where it is frequent, this is shorter than reading them all."""
        checks, scope = self._checks()
        where = scope.bound.fill(stretch.where, stretch.values)
        here = f"rid = r.rid and {where} and {stretch.column} = {scope.bound(_plain(value))}"
        sql = (
            f"select r.rid from runs r indexed by sqlite_autoindex_runs_1 where {checks} and "
            f"{some(f'from {stretch.table} where {here}')} "
            f"order by r.{RUN_IDS.column} desc limit {need}"
        )
        found = self._connection.arrow(*scope.bound.used(sql)).column(0)
        return numbers(found)

    def _page(
        self,
        stretch: Entries,
        descending: bool,
        size: int,
        last: tuple[Any, Any] | None,
        *,
        checked: bool,
    ) -> pa.Table:
        """Read the next entries of an index: rid, value, and whether the run satisfies all conditions."""
        checks, scope = self._checks()
        where = scope.bound.fill(stretch.where, stretch.values)
        way, sign = ("desc", "<") if descending else ("asc", ">")
        column = stretch.column
        if last is not None:
            value, rid = map(_plain, last)
            where += f" and ({column}, rid) {sign} ({scope.bound(value)}, {scope.bound(rid)})"
        inner = (
            f"select rid, {column} as v from {stretch.table} where {where} "
            f"order by {column} {way}, rid {way} limit {size}"
        )
        if not checked:
            return self._connection.arrow(*scope.bound.used(inner))
        good = some(f"from runs r where r.rid = d.rid and {checks}")
        return self._connection.arrow(
            *scope.bound.used(f"select d.rid, d.v, {good} from ({inner}) d")
        )

    def _sifted(
        self, rids: np.ndarray[Any, Any], values: np.ndarray[Any, Any], bits: np.ndarray[Any, Any]
    ) -> Iterator[Block]:
        """Check the entries whose rid is worth it, few at first."""
        worth = (rids < len(bits)).nonzero()[0]
        worth = worth[bits[rids[worth]]]
        start, size, passed = 0, _FIRST, 0
        while start < len(worth):
            part = worth[start : start + size]
            good = part[self._checked(rids[part])]
            start, size = start + size, size * 2
            end = len(rids) if start >= len(worth) else int(part[-1]) + 1
            yield rids[good], values[good], values[end - 1], end - passed
            passed = end
        if passed < len(rids):
            yield rids[:0], values[:0], values[-1], len(rids) - passed

    def _checked(self, rids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return for each rid whether its run satisfies all conditions."""
        checks, scope = self._checks()
        listed = scope.bound(json.dumps(rids.tolist()))
        good = some(f"from runs r where r.rid = j.value and {checks}")
        found = self._connection.arrow(
            *scope.bound.used(f"select {good} from json_each({listed}) j")
        )
        answer: np.ndarray[Any, Any] = numbers(found.column(0)) == 1
        return answer


def _plain(value: Any) -> Any:
    """Return a numpy scalar as Python's."""
    return value.item() if hasattr(value, "item") else value


def _bits(rids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:

    bits = np.zeros(int(rids.max(initial=0)) + 1, dtype=bool)
    bits[rids] = True
    return bits


def _values(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    return numbers(column)
