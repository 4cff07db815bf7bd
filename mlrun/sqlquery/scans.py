"""The tables that `mlrun.sql` sees: one consistent sight of the store, built only when a query names them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl

from mlrun.errors import SQLError
from mlrun.lookup.overlay import record_frame
from mlrun.lookup.sight import PARTS, Snapshot, as_frame, snapshot
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


_MEAN = ("sum", "count", "nan")


@contextmanager
def sql_tables(
    store: Store, query: str | None = None
) -> Iterator[dict[str, Callable[[], pl.LazyFrame]]]:
    """Yield name -> maker of a lazy frame; softly deleted runs and their rows are left out.

    Args:
        store: whose.
        query: what will be asked of them: of the records, columns that it does not name are not read and are empty.
    """
    named = None if query is None else _words(query)
    with snapshot(store) as sight:
        tables = _Tables(store, sight, named)
        yield {name: getattr(tables, name) for name in SQL_TABLES}


def _words(query: str) -> frozenset[str] | None:
    """Return all words of a query, which the columns that it names are among; None if it may mean all columns."""
    text = re.sub(r"count\s*\(\s*\*\s*\)", "", query.lower())
    words = frozenset(re.findall(r"\w+", text))
    return None if "*" in text or words & {"natural", "columns"} else words


class _Tables:
    def __init__(self, store: Store, sight: Snapshot, named: frozenset[str] | None = None) -> None:
        self._store = store
        self._sight = sight
        self._named = named
        every = sight.rows(RUNS, None, ["run_id", "deleted_at"])
        self._gone = every.filter(pl.col("deleted_at").is_not_null())["run_id"].to_list()
        self._ids = every.filter(pl.col("deleted_at").is_null())["run_id"]
        self._only: frozenset[str] | None = getattr(store, "only_projects", None)

    def _rows(self, table: Table, **parts: tuple[str, ...]) -> pl.LazyFrame:
        """Return a table with all its columns, of which those are read that the query names.

        Args:
            table: which.
            parts: what columns of the query's table are made of.
        """
        if self._named is None:
            return self._sight.rows(table, None).lazy()
        made_of = {part for name, of in parts.items() if name in self._named for part in of}
        read = self._named | made_of | {"run_id", "project", "deleted_at"}
        found = self._sight.rows(table, None, [c for c in table.names if c in read])
        empty = record_frame(table, []).schema.items()
        return found.lazy().with_columns(
            pl.lit(None, kind).alias(c) for c, kind in empty if c not in found.columns
        )

    def runs(self) -> pl.LazyFrame:
        there = self._rows(RUNS, **PARTS).filter(pl.col("deleted_at").is_null())
        length = (pl.col("finished_at") - pl.col("started_at")).alias("duration")
        return there.select(*RUNS.visible, length)

    def params(self) -> pl.LazyFrame:
        return self._long(PARAMS)

    def results(self) -> pl.LazyFrame:
        return self._long(RESULTS)

    def tags(self) -> pl.LazyFrame:
        return self._long(TAGS)

    def summaries(self) -> pl.LazyFrame:
        shown = [c for c in SUMMARIES.visible if c != "last"]
        found = self._kept(self._rows(SUMMARIES, mean=_MEAN))
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
        runs = self._sight.rows(RUNS, None, ["run_id", "started_at", "deleted_at"])
        there = runs.filter(pl.col("deleted_at").is_null())
        ids = there.sort("started_at", descending=True)["run_id"].to_list()
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
        return self._kept(self._rows(table)).select(table.visible)

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
