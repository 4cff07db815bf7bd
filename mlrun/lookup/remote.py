"""The sight of a store that is behind a gateway: every look is a question to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mlrun.lookup.overlay import Overlay
from mlrun.lookup.sight import Snapshot
from mlrun.tables import RUNS
from mlrun.where.printing import to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

    from mlrun.contracts import CanAnswer, RecordsView, RunQuery
    from mlrun.journal.snapshot import JournalSnapshot
    from mlrun.store import Store
    from mlrun.tables import Table

__all__ = ["RemoteSight"]


class RemoteSight(Snapshot):
    """What `Snapshot` tells, asked of a gateway; each answer is consistent in itself."""

    def __init__(self, store: Store) -> None:
        self._store = cast("CanAnswer", store)
        self.overlay = Overlay()  # what is pending there is in its answers

    @property
    def journal(self) -> JournalSnapshot:  # type: ignore[override]
        """The journal is the gateway's."""
        raise self._elsewhere()

    @property
    def view(self) -> RecordsView:  # type: ignore[override]
        """The records are the gateway's."""
        raise self._elsewhere()

    def _elsewhere(self) -> Exception:
        from mlrun.errors import StoreError

        return StoreError(
            "this needs the store itself, and not a gateway: do it where the gateway runs"
        )

    def rows(
        self,
        table: Table,
        run_ids: Sequence[str] | None,
        columns: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return a per-run table's rows of these runs, see `Snapshot.rows`."""
        found: dict[str, pl.DataFrame] = self._store.ask(
            "rows", tables=[table.name], run_ids=run_ids, columns=columns, keys=keys
        )
        return found[table.name]

    def each(self, tables: Iterable[Table], run_ids: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Return the rows of these runs of several tables, in one request."""
        found: dict[str, pl.DataFrame] = self._store.ask(
            "rows", tables=[t.name for t in tables], run_ids=run_ids
        )
        return found

    def knows(self, run_id: str) -> bool:
        """Whether there is a run of exactly this id."""
        return self.rows(RUNS, [run_id], ["run_id"]).height > 0

    def shared(self, table: Table) -> pl.DataFrame:
        """Return all rows of a table that is not per run."""
        found: pl.DataFrame = self._store.ask("shared", table=table.name)
        return found

    def find(self, query: RunQuery) -> list[str]:
        """Return the ids of the runs that `query` means, in order."""
        order = [("-" if k.descending else "") + to_text(k.name) for k in query.order_by]
        found: Any = self._store.ask(
            "find",
            project=query.project,
            where=None if query.where is None else to_text(query.where),
            order_by=order or None,
            limit=query.limit,
            offset=query.offset,
            children=query.children,
            archived=query.archived,
            deleted=query.deleted,
        )
        return list(found)
