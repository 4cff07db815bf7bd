"""One consistent sight of a store's records: the journal first, then one snapshot, and what is pending between them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.asking import answering
from mlrun.journal.snapshot import JournalSnapshot, read_journal
from mlrun.lookup.norecords import NoRecords
from mlrun.lookup.overlay import Overlay, load_overlay, record_frame
from mlrun.notices import warn_of_damage
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS, Table
from mlrun.where.ast import names_in
from mlrun.where.frames import RunFrames, select_runs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from mlrun.contracts import RecordsView, RunQuery
    from mlrun.store import Store
    from mlrun.where.ast import Name

__all__ = ["PARTS", "Snapshot", "as_frame", "snapshot"]

_SMALL = 20_000  # rows
_KEYED = {"params": PARAMS, "results": RESULTS, "metrics": SUMMARIES}  # by scope
PARTS = {"duration": ("started_at", "finished_at")}  # run columns that are made of others


@dataclass
class Snapshot:
    """One consistent sight of a store: journal, records and what is pending between them."""

    journal: JournalSnapshot
    view: RecordsView
    overlay: Overlay

    def rows(
        self,
        table: Table,
        run_ids: Sequence[str] | None,
        columns: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return a per-run table's rows of these runs (None for all), pending ones included.

        Args:
            table: RUNS, PARAMS, RESULTS, TAGS or SUMMARIES.
            run_ids: whose rows.
            columns: only these, `run_id` among them; None for all.
            keys: only rows of these keys, where the table has keys and `run_ids` are given; pending ones of all keys.
        """
        pending = self.overlay.run_ids
        if run_ids is None:
            stored = as_frame(self.view.scan(table, columns=columns))
            if pending:
                stored = stored.filter(~pl.col("run_id").is_in(list(pending)))
        else:
            settled = [r for r in run_ids if r not in pending]
            if run_ids and not settled:
                fresh = self._pending(table, run_ids)
                return fresh if columns is None else _only(fresh, columns)
            where = {"run_id": settled} if keys is None else {"run_id": settled, "key": keys}
            stored = as_frame(self.view.scan(table, columns=columns, where=where))
        if not pending or (run_ids is not None and len(settled) == len(run_ids)):
            return stored
        return stored.vstack(_only(self._pending(table, run_ids), stored.columns))

    def each(self, tables: Iterable[Table], run_ids: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Return the rows of these runs of several tables, by the table's name."""
        return {table.name: self.rows(table, run_ids) for table in tables}

    def knows(self, run_id: str) -> bool:
        """Whether anything is known of a run of exactly this id."""
        return run_id in self.overlay.run_ids or self.rows(RUNS, [run_id]).height > 0

    def _pending(self, table: Table, run_ids: Sequence[str] | None) -> pl.DataFrame:
        found = self.overlay.frame(table)
        if run_ids is None or found.is_empty() or self.overlay.run_ids <= set(run_ids):
            return found
        return found.filter(pl.col("run_id").is_in(list(run_ids)))

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
        merged = replace(
            query, where=None, project=None, exclude=frozenset(),
            children=True, archived=True, deleted=True,
        )  # fmt: skip
        names = [name for key in query.order_by for name in names_in(key.name)]
        return select_runs(self._frames([*stored, *fresh], names), merged)["run_id"].to_list()

    def _frames(self, run_ids: list[str], names: Collection[Name] | None = None) -> RunFrames:
        """The rows that an expression of these names looks at, None for any; other tables are empty."""
        if names is None:
            return RunFrames(*(self.rows(t, run_ids) for t in (RUNS, TAGS, *_KEYED.values())))
        read = {part for n in names if n.scope == "run" for part in PARTS.get(n.key, (n.key,))}
        read |= {n.scope for n in names if n.scope == "labels"} | {"run_id"}
        frames = [self.rows(RUNS, run_ids, sorted(read)), _nothing(TAGS)]
        for scope, table in _KEYED.items():
            keys = sorted({n.key for n in names if n.scope == scope})
            frames.append(self.rows(table, run_ids, keys=keys) if keys else _nothing(table))
        return RunFrames(*frames)


def _only(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [frame.get_column(c) for c in columns]
    )  # `select` would ask the thread pool


@cache
def _nothing(table: Table) -> pl.DataFrame:
    return record_frame(table, [])


@contextmanager
def snapshot(store: Store) -> Iterator[Snapshot]:
    """Open one consistent sight of the store: of a gateway's through it, of some projects' only those."""
    if answering(store) is not None:
        from mlrun.lookup.remote import RemoteSight

        yield RemoteSight(store)
        return
    only = getattr(store, "only_projects", None)
    if not store.exists():
        yield Snapshot(JournalSnapshot(store.journal), NoRecords(), Overlay())
        return
    with _opened(store) as (journal, view, overlay):
        warn_of_damage(journal.findings)
        if only is None:
            yield Snapshot(journal, view, overlay)
            return
        from mlrun.lookup.restricted import RestrictedSight

        yield RestrictedSight(journal, view, overlay, only)


@contextmanager
def _opened(store: Store) -> Iterator[tuple[JournalSnapshot, RecordsView, Overlay]]:
    look = getattr(store, "look", None)  # of the moment, see `mlrun.lookup.look`
    if look is not None:
        yield (look.journal, *look.records)
        return
    journal = read_journal(store.journal)
    with store.records.read() as view:
        yield journal, view, load_overlay(journal, view)


def as_frame(arrow: Any) -> pl.DataFrame:
    """Return an Arrow table as a Polars frame, without a copy where the types allow it."""
    if arrow.num_rows <= _SMALL:  # column by column, in this thread: see `mlrun.lookup.widen`
        names = arrow.column_names
        return pl.DataFrame([pl.Series(n, c) for n, c in zip(names, arrow.columns, strict=True)])
    frame = pl.from_arrow(arrow)
    assert isinstance(frame, pl.DataFrame)
    return frame
