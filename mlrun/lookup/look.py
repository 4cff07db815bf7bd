"""One look at a store that several questions share: all of them were asked before it began.

What a question pays for before it reads a row of its own, listing the journal, opening what waits in it, taking
snapshots of the stores, is the same for every question of that moment. Whoever answers many, one after the other, takes
one look for those that wait: `store.look = Look(store)`, and closes it behind the last of them.

Law.
    A question may be answered by a look that began after it was asked, never by an older one: so whoever has written
    sees what they wrote. The journal is read before any store's snapshot, as without a look. A look holds a read
    transaction of the records store, and so is not kept while nobody asks. One thread.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from mlrun.journal.snapshot import JournalSnapshot, read_journal
from mlrun.lookup.overlay import Overlay, load_overlay

if TYPE_CHECKING:
    from mlrun.contracts import RecordsView
    from mlrun.series.points import Sight
    from mlrun.store import Store
    from mlrun.tables import Table

__all__ = ["Look"]


class Look:
    """What a store holds at one moment; each part is read when it is first asked for.

    Args:
        store: which; it exists.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open = ExitStack()
        self._points: dict[Table, Sight] = {}

    @cached_property
    def journal(self) -> JournalSnapshot:
        """The journal."""
        return read_journal(self._store.journal)

    @cached_property
    def records(self) -> tuple[RecordsView, Overlay]:
        """A snapshot of the records, and what waits in the journal past its marks."""
        journal = self.journal
        view = self._open.enter_context(self._store.records.read())
        return view, load_overlay(journal, view)

    def points(self, table: Table, *, again: bool = False) -> Sight:
        """Return the points of a table; `again` takes new snapshots where what the old ones pinned is gone."""
        from mlrun.series.points import Sight

        if again or table not in self._points:
            journal = read_journal(self._store.journal) if again else self.journal
            self._points[table] = Sight(self._store, table, journal)
        return self._points[table]

    def close(self) -> None:
        """End the transaction. Idempotent."""
        self._open.close()
