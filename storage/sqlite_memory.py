"""What a connection knows of the snapshot that it reads, kept until anybody commits.

A question needs a dozen small facts before it reads a row: marks, numbers of keys, how many runs there are. SQLite
tells for the price of one of them whether the file is still what this connection saw last: `data_version` changes with
every commit of any other connection, of this process or another; a commit of this one forgets by itself
(`transaction`). Read inside a transaction it pins the snapshot, so what is remembered belongs to what will be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .sqlite_connect import Connection

__all__ = ["pin", "remembered"]

_MOST = 256  # facts; a connection that was asked so many different things begins anew

_T = TypeVar("_T")


def pin(connection: Connection) -> bool:
    """Pin the snapshot of a transaction that has begun; return whether it is the one that was read last."""
    [(version,)] = connection.rows("pragma data_version")
    same = bool(connection.seen == version)
    if not same:
        connection.memory = {}
        connection.seen = version
    return same


def remembered(
    connection: Connection,
    fact: Hashable,
    find: Callable[[], _T],
    *,
    worth: Callable[[_T], bool] | None = None,
) -> _T:
    """Return a fact about the pinned snapshot, found out once; nobody may change what is returned.

    Args:
        connection: whose snapshot.
        fact: what names it.
        find: finds it out.
        worth: whether what was found is small enough to keep; None for always.
    """
    memory: dict[Any, Any] = connection.memory
    if fact not in memory:
        found = find()
        if worth is not None and not worth(found):
            return found
        if len(memory) >= _MOST:
            memory.clear()
        memory[fact] = found
    known: _T = memory[fact]
    return known
