"""One consistent sight of a store's records: the journal first, then one snapshot, and what is pending between them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.journal.snapshot import JournalSnapshot, read_journal
from mlrun.lookup.norecords import NoRecords
from mlrun.lookup.overlay import Overlay, load_overlay, record_frame
from mlrun.notices import warn_of_damage
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS, Table
from mlrun.where.ast import names_in
from mlrun.where.frames import RunFrames, select_runs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mlrun.contracts import RecordsView, RunQuery
    from mlrun.store import Store

__all__ = ["Snapshot", "as_frame", "snapshot"]

_SCOPES = ("tags", "params", "results", "metrics")


@dataclass
class Snapshot:
    """One consistent sight of a store: journal, records and what is pending between them."""

    journal: JournalSnapshot
    view: RecordsView
    overlay: Overlay

    def rows(
        self, table: Table, run_ids: Sequence[str] | None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return a per-run table's rows of these runs (None for all), pending ones included.

        Args:
            table: RUNS, PARAMS, RESULTS, TAGS or SUMMARIES.
            run_ids: whose rows.
            columns: only these, `run_id` among them; None for all.
        """
        pending = self.overlay.run_ids
        if run_ids is None:
            stored = as_frame(self.view.scan(table, columns=columns))
            if pending:
                stored = stored.filter(~pl.col("run_id").is_in(list(pending)))
        else:
            settled = [r for r in run_ids if r not in pending]
            if run_ids and not settled:
                fresh = self.overlay.frame(table).filter(pl.col("run_id").is_in(list(run_ids)))
                return fresh if columns is None else fresh.select(columns)
            stored = as_frame(self.view.scan(table, columns=columns, where={"run_id": settled}))
        if not pending:
            return stored
        fresh = self.overlay.frame(table).select(stored.columns)
        if run_ids is not None:
            fresh = fresh.filter(pl.col("run_id").is_in(list(run_ids)))
        return pl.concat([stored, fresh])

    def shared(self, table: Table) -> pl.DataFrame:
        """Return all rows of a table that is not per run (artifacts, lineage, …), pending ones laid over by key."""
        stored = as_frame(self.view.scan(table))
        for gone in self.overlay.deleted.get(table.name, ()):
            match = pl.all_horizontal(
                pl.lit(True), *(pl.col(c).eq_missing(pl.lit(v)) for c, v in gone.items())
            )
            stored = stored.filter(~match)
        fresh = self.overlay.frame(table)
        if fresh.is_empty():
            return stored
        return pl.concat([stored.join(fresh, on=list(table.key), how="anti"), fresh])

    def find(self, query: RunQuery) -> list[str]:
        """Return the ids of the runs that `query` means, in order."""
        pending = self.overlay.run_ids
        if not pending:
            return list(self.view.find(query).column("run_id").to_pylist())
        end = None if query.limit is None else query.limit + query.offset
        stored = (
            self.view.find(replace(query, limit=end, offset=0, exclude=pending))
            .column("run_id")
            .to_pylist()
        )
        fresh = select_runs(self._frames(list(pending)), replace(query, limit=end, offset=0))[
            "run_id"
        ].to_list()
        if not fresh or not stored:
            return (stored or fresh)[query.offset : end]
        # both are in order already: merging them takes only what the order is made of
        merged = replace(query, where=None, children=True)
        scopes = {name.scope for key in query.order_by for name in names_in(key.name)}
        return select_runs(self._frames([*stored, *fresh], scopes), merged)["run_id"].to_list()

    def _frames(self, run_ids: list[str], scopes: Collection[str] = _SCOPES) -> RunFrames:
        """The rows that an expression over these scopes looks at; other tables are empty."""
        frames = [self.rows(RUNS, run_ids)]
        for table, scope in zip((TAGS, PARAMS, RESULTS, SUMMARIES), _SCOPES, strict=True):
            frames.append(self.rows(table, run_ids) if scope in scopes else record_frame(table, []))
        return RunFrames(*frames)


@contextmanager
def snapshot(store: Store) -> Iterator[Snapshot]:
    """Open one consistent sight of the store."""
    if not store.exists():
        yield Snapshot(JournalSnapshot(store.journal), NoRecords(), Overlay())
        return
    journal = read_journal(store.journal)
    with store.records.read() as view:
        overlay = load_overlay(journal, view)
        warn_of_damage(journal.findings)
        yield Snapshot(journal, view, overlay)


def as_frame(arrow: Any) -> pl.DataFrame:
    """Return an Arrow table as a Polars frame, without a copy where the types allow it."""
    frame = pl.from_arrow(arrow)
    assert isinstance(frame, pl.DataFrame)
    return frame
