"""Following an index in the order of its values, until enough runs are found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .sqlite_index import RUN_IDS, Entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import pyarrow as pa

    from .sqlite_connect import Connection
    from .sqlite_index import Order
    from .sqlite_where import Scope

    Block = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Any, int]

__all__ = ["GaveUp", "Walk"]

_FIRST = 512
_STRIDE = 65_536


class GaveUp(Exception):
    """A walk passed as many runs as it was allowed to, and had not found enough."""


class Walk:
    """Gathers the first runs of an order.

    Args:
        connection: to read from.
        order: the stretches to follow.
        checks: makes the whole condition on `runs r`, and the scope that holds its values.
    """

    def __init__(
        self, connection: Connection, order: Order, checks: Callable[[], tuple[str, Scope]]
    ) -> None:
        self._connection = connection
        self._order = order
        self._checks = checks

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
        import numpy as np

        found = np.array([], dtype=np.int64)
        passed = 0
        ways = [(s, self._order.descending) for s in self._order.stretches]
        if self._order.rest:
            ways.append((RUN_IDS, True))
        for stretch, descending in ways:
            new = [found]
            held, tied, edge = len(found), 0, None
            for rids, values, last, count in self._blocks(stretch, descending, among):
                fresh = ~np.isin(rids, found)
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
        self, stretch: Entries, descending: bool, among: np.ndarray[Any, Any] | None
    ) -> Iterator[Block]:
        """Yield rids and values of runs that satisfy all conditions; the last value passed; how many were passed."""
        size, last = (_FIRST if among is None else _STRIDE), None
        bits = None if among is None else _bits(among)
        while True:
            page = self._page(stretch, descending, size, last, checked=bits is None)
            if page.num_rows == 0:
                return
            rids, values = page.column(0).to_numpy(), _values(page.column(1))
            if bits is None:
                good = page.column(2).to_numpy() == 1
                yield rids[good], values[good], values[-1], len(rids)
            else:
                yield from self._sifted(rids, values, bits)
            if page.num_rows < size:
                return
            size, last = min(size * 2, _STRIDE), (values[-1], rids[-1])

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
            value, rid = (v.item() if hasattr(v, "item") else v for v in last)
            where += f" and ({column}, rid) {sign} ({scope.bound(value)}, {scope.bound(rid)})"
        inner = (
            f"select rid, {column} as v from {stretch.table} where {where} "
            f"order by {column} {way}, rid {way} limit {size}"
        )
        if not checked:
            return self._connection.arrow(*scope.bound.used(inner))
        good = f"exists (select 1 from runs r where r.rid = d.rid and {checks})"
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
        numbers = scope.bound(json.dumps(rids.tolist()))
        good = f"exists (select 1 from runs r where r.rid = j.value and {checks})"
        found = self._connection.arrow(
            *scope.bound.used(f"select {good} from json_each({numbers}) j")
        )
        answer: np.ndarray[Any, Any] = found.column(0).to_numpy() == 1
        return answer


def _bits(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    bits = np.zeros(int(numbers.max(initial=0)) + 1, dtype=bool)
    bits[numbers] = True
    return bits


def _values(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    values: np.ndarray[Any, Any] = column.to_numpy()
    return values
