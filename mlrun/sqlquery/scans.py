"""The tables that `mlrun.sql` sees: one consistent sight of the store, built only when a query names them."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from mlrun.errors import SQLError
from mlrun.lookup.overlay import record_frame
from mlrun.lookup.sight import Snapshot, as_frame, snapshot
from mlrun.lookup.widen import aggregate, widen
from mlrun.query import artifacts_made
from mlrun.tables import (
    AUDIT,
    LOGS,
    METRICS,
    PARAMS,
    RESULTS,
    RUNS,
    SUMMARIES,
    SYSTEM_METRICS,
    TAGS,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.store import Store

__all__ = ["SQL_TABLES", "sql_tables"]

SQL_TABLES = (
    "runs", "params", "results", "metrics", "summaries", "tags", "artifacts", "logs", "system_metrics", "runs_wide",
    "audit",
)  # fmt: skip


@contextmanager
def sql_tables(store: Store) -> Iterator[dict[str, Callable[[], pl.LazyFrame]]]:
    """Yield name -> maker of a lazy frame; softly deleted runs and their rows are left out."""
    with snapshot(store) as sight:
        tables = _Tables(store, sight)
        yield {name: getattr(tables, name) for name in SQL_TABLES}


class _Tables:
    def __init__(self, store: Store, sight: Snapshot) -> None:
        self._store = store
        self._sight = sight
        every = sight.rows(RUNS, None, ["run_id", "deleted_at"])
        self._gone = every.filter(pl.col("deleted_at").is_not_null())["run_id"].to_list()
        self._ids = every.filter(pl.col("deleted_at").is_null())["run_id"]
        self._only: frozenset[str] | None = getattr(store, "only_projects", None)

    @cached_property
    def _runs(self) -> pl.DataFrame:
        """The runs that are not deleted; all their columns are read only when a query names them."""
        return self._sight.rows(RUNS, None).filter(pl.col("deleted_at").is_null())

    def runs(self) -> pl.LazyFrame:
        length = (pl.col("finished_at") - pl.col("started_at")).alias("duration")
        return self._runs.lazy().select(*RUNS.visible, length)

    def params(self) -> pl.LazyFrame:
        return self._long(PARAMS)

    def results(self) -> pl.LazyFrame:
        return self._long(RESULTS)

    def tags(self) -> pl.LazyFrame:
        return self._long(TAGS)

    def summaries(self) -> pl.LazyFrame:
        shown = [c for c in SUMMARIES.visible if c != "last"]
        found = self._kept(self._sight.rows(SUMMARIES, None).lazy())
        return found.select(
            *shown, aggregate("last").alias("last"), aggregate("mean").alias("mean")
        )

    def artifacts(self) -> pl.LazyFrame:
        return self._kept(artifacts_made(self._sight).lazy())

    def audit(self) -> pl.LazyFrame:
        return as_frame(self._sight.view.scan(AUDIT)).lazy()

    def metrics(self) -> pl.LazyFrame:
        return self._points(METRICS)

    def system_metrics(self) -> pl.LazyFrame:
        return self._points(SYSTEM_METRICS)

    def logs(self) -> pl.LazyFrame:
        view = self._store.series.snapshot(LOGS)
        fresh = pl.DataFrame(self._sight.journal.text(after=view.marks()))
        return self._union(LOGS, view.lazy(), fresh)

    def runs_wide(self) -> pl.LazyFrame:
        ids = self._runs.sort("started_at", descending=True)["run_id"].to_list()
        tables = {
            t.name: self._sight.rows(t, None) for t in (RUNS, TAGS, PARAMS, RESULTS, SUMMARIES)
        }
        wide = widen(ids, tables, None)
        if len(wide.columns) > 20_000:
            raise SQLError(
                "runs_wide would have over 20,000 columns: use params, results and summaries"
            )
        return wide.lazy()

    def _long(self, table: Table) -> pl.LazyFrame:
        return self._kept(self._sight.rows(table, None).lazy()).select(table.visible)

    def _points(self, table: Table) -> pl.LazyFrame:
        view = self._store.series.snapshot(table)
        fresh = pl.DataFrame(self._sight.journal.points(table.name, after=view.marks()))
        return self._union(table, view.lazy(), fresh)

    def _union(self, table: Table, stored: pl.LazyFrame, fresh: pl.DataFrame) -> pl.LazyFrame:
        parts = [self._kept(stored.select(table.visible))]
        if fresh.height:
            schema = record_frame(table, []).select(table.visible).schema
            parts.append(self._kept(fresh.lazy().select(table.visible).cast(schema)))
        return pl.concat(parts)

    def _kept(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        if (
            self._only is not None
        ):  # the project is what files are sorted by, the run is what counts
            if "project" in frame.collect_schema().names():
                frame = frame.filter(pl.col("project").is_in(sorted(self._only)))
            return frame.filter(pl.col("run_id").is_in(self._ids.to_list()))
        return frame.filter(~pl.col("run_id").is_in(self._gone)) if self._gone else frame
