"""The log of one table: which commits it has, the marks that go with them, and how to add the next one.

Commits are numbered. Whoever appends looks at the newest number, inserts rows and marks under the next one, and looks
again whose insert it was: of several that claim one number the server stores the first and drops the others, which look
at the marks anew and try the number after. So commits are in one order, and a mark is never passed twice. A number that
is dropped though nobody has it (the server died between noting the token and storing the rows) is skipped.

An insert that comes late, from a process that was stopped for long, finds a newer commit there and stores nothing.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlrun.errors import StoreError
from mlrun.ids import uuid7

from .clickhouse_client import Absent, Disconnected
from .clickhouse_schema import COMMIT, CUT, DATA, GONE, HIDDEN, MARK, create, open_version, struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.tables import Table

    from .clickhouse_client import Client

__all__ = ["Line", "State", "TableLog"]

_COMMIT_SECONDS = 120.0
_FRESH_SECONDS = (
    1.0  # so young a look is believed: the number that it leads to is checked by the server
)
_GHOST_SECONDS = 10.0  # longer than any insert takes from its token to its part
_EPOCH = pa.scalar(0, pa.timestamp("us", "UTC"))

Line = tuple[int, str, int]  # kind, name, number


@dataclass(frozen=True)
class State:
    """What the log says up to a commit.

    Attributes:
        commit: the newest; 0 for a table without any.
        marks: of every journal writer.
        gone: deleted runs, and the commit that deleted them.
        cuts: filters whose rows were deleted, as JSON, and the commit that deleted them.
        made: whether the table is there.
        looked: when it was so, by this process's clock.
    """

    commit: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)
    gone: Mapping[str, int] = field(default_factory=dict)
    cuts: Mapping[str, int] = field(default_factory=dict)
    made: bool = False
    looked: float = 0.0

    def covers(self, marks: Mapping[str, int] | None) -> bool:
        """Whether one of these marks is there or passed."""
        return any(self.marks.get(w, 0) >= number for w, number in (marks or {}).items())

    def passes(self, first: Mapping[str, int]) -> bool:
        """Whether a mark is past the first row of its writer: that row is there, or will never come."""
        return any(self.marks.get(w, 0) > seq for w, seq in first.items())


class TableLog:
    """The log of one table, for many threads; reads what is new when asked for the state."""

    def __init__(self, client: Client, table: Table) -> None:
        self.client = client
        self.table = table
        self.name = client.table(table.name)
        self._lock = threading.RLock()
        self._appending = threading.Lock()
        self._state = State()
        self._checked = False

    def create(self) -> None:
        """Make the table if it is not there."""
        create(self.client, self.table)

    def state(self) -> State:
        """Return what the log says now."""
        return self._look(0)[0]

    def commit(
        self, make: Callable[[State], tuple[pa.Table, list[Line]] | None]
    ) -> tuple[State, bool]:
        """Add a commit.

        Args:
            make: rows and log lines, given the state that they follow; None to add nothing. It is asked again
                whenever somebody else was first.

        Returns:
            The state that the commit follows or, if none was made, what `make` saw; and whether one was made.

        Raises:
            Disconnected: the server went away; it is not known whether the commit is there.
        """
        with self._appending:  # threads of one process do not get in each other's way
            deadline = time.monotonic() + _COMMIT_SECONDS
            state, skip, dropped = self._recent(), 0, 0
            since = time.monotonic()
            while time.monotonic() < deadline:
                made = make(state)
                if made is None:
                    return state, False
                after, owner = self._insert(state.commit + 1 + skip, word := uuid7(), *made)
                if owner == word:
                    return state, True
                dropped += 1
                if after.commit != state.commit:  # somebody else was first
                    skip, dropped, since = 0, 0, time.monotonic()
                elif time.monotonic() - since > _GHOST_SECONDS:
                    skip, dropped, since = skip + 1, 0, time.monotonic()
                state = after
                time.sleep(random.random() * 0.01 * 2 ** min(dropped, 7))
        raise StoreError(f"{self.client.url}: table {self.table.name!r} is written to by too many")

    def _recent(self) -> State:
        with self._lock:
            if self._state.made and time.monotonic() - self._state.looked < _FRESH_SECONDS:
                return self._state
        state = self.state()
        if not state.made:
            self.create()
            state = self.state()
        return state

    def _insert(
        self, number: int, word: str, rows: pa.Table, lines: list[Line]
    ) -> tuple[State, str]:
        """Try to store a commit under a number; returns the state then, and whose the number is."""
        block = _block(self.table, number, rows, [(COMMIT, word, rows.num_rows), *lines])
        condition = f"(SELECT count() FROM {self.name} WHERE mlrun_kind > {DATA} AND mlrun_commit >= {int(number)}) = 0"
        try:
            self.client.insert(
                self.name,
                block,
                token=str(number),
                condition=condition,
                struct=struct(self.table),
            )
        except Disconnected:
            after, owner = self._look(number)
            if owner == word:
                return after, owner
            raise  # it may be on its way; whoever comes again reads the marks first
        return self._look(number)

    def _look(self, number: int) -> tuple[State, str]:
        """Read what is new; returns the state, and whose a commit is ("" for nobody's)."""
        with self._lock:
            self._check_version()
            known, began = self._state, time.monotonic()
            try:
                found = self.client.rows(
                    _news(self.name, grouped=began - known.looked > _FRESH_SECONDS),
                    {
                        "mine": number,
                        "known": min(known.commit, number - 1) if number else known.commit,
                    },
                )
            except Absent:
                self._state = State()
                return self._state, ""
            self._state = _advanced(known, found, began)
            owner = (n for kind, n, _, c in found if kind == COMMIT and c == number)
            return self._state, next(owner, "") if number else ""

    def _check_version(self) -> None:
        if not self._checked:
            open_version(self.client)
            self._checked = True


def _news(table: str, *, grouped: bool) -> str:
    """Return the question for what is new in the log; of little, ungrouped and by one thread, it takes half as long."""
    number, commit = ("max({})" if grouped else "{}").format, "mlrun_commit"
    return (
        f"SELECT mlrun_kind AS kind, "
        f"if(kind = {COMMIT} AND {commit} != {{mine:UInt64}}, '', mlrun_name) AS name, "
        f"{number('mlrun_number')} AS number, {number(commit)} AS commit FROM {table} "
        f"WHERE mlrun_kind > {DATA} AND {commit} > {{known:UInt64}} "
        + ("GROUP BY kind, name" if grouped else "SETTINGS max_threads = 1")
    )


def _advanced(known: State, found: list[tuple[Any, ...]], looked: float) -> State:
    if not found:
        return replace(known, made=True, looked=looked)
    marks, gone, cuts = dict(known.marks), dict(known.gone), dict(known.cuts)
    for kind, word, number, commit in found:
        if kind == MARK:
            marks[word] = max(marks.get(word, 0), number)
        elif kind == GONE:
            gone[word] = max(gone.get(word, 0), commit)
        elif kind == CUT:
            cuts[word] = max(cuts.get(word, 0), commit)
    newest = max(commit for _, _, _, commit in found)
    return State(max(known.commit, newest), marks, gone, cuts, made=True, looked=looked)


def _block(table: Table, number: int, rows: pa.Table, lines: list[Line]) -> pa.Table:
    """Put rows and log lines together, as the columns of `struct`."""
    kinds, words, numbers = zip(*lines, strict=True)
    size = rows.num_rows
    hidden = {
        "mlrun_kind": _filled(DATA, size, kinds, pa.uint8()),
        "mlrun_commit": _filled(number, size, [number] * len(lines), pa.uint64()),
        "mlrun_name": _filled("", size, words, pa.string()),
        "mlrun_number": _filled(0, size, numbers, pa.int64()),
    }
    assert hidden.keys() == HIDDEN.keys()
    columns = [
        pa.chunked_array([*rows.column(f.name).chunks, _blank(f, len(lines))], f.type)
        for f in table.schema
    ]
    return pa.table([*hidden.values(), *columns], names=[*hidden, *table.names])


def _filled(value: Any, size: int, more: Any, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array(
        [pa.repeat(pa.scalar(value, kind), size), pa.array(list(more), kind)], kind
    )


def _blank(column: pa.Field, size: int) -> pa.Array:
    if column.nullable:
        return pa.nulls(size, column.type)
    if pa.types.is_timestamp(column.type):
        return pa.repeat(_EPOCH, size)
    empty: Any = "" if pa.types.is_string(column.type) else 0
    return pa.repeat(pa.scalar(empty).cast(column.type), size)
