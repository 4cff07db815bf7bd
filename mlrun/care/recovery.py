"""Runs whose records are lost but whose points are stored: list them again.

A records file that was beyond repair, or an import that was killed, leaves such points. A recovered run has the kind
`recovered`, the state `lost`, its metrics and their summaries; an import of the same run replaces it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.contracts import PointFilter
from mlrun.ids import now_us
from mlrun.tables import METRICS, RUNS, SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.contracts import Op
    from mlrun.lookup.sight import Snapshot
    from mlrun.store import Store

__all__ = ["KIND", "orphans", "recover"]

KIND = "recovered"
_BATCH = 50  # runs whose points are read at once


def orphans(store: Store, sight: Snapshot) -> dict[str, int]:
    """Return run id -> number of stored points, for runs that have no record, in the store or pending."""
    import polars as pl

    lazy = store.series.snapshot(METRICS).lazy()
    counts = lazy.group_by("run_id").agg(pl.len()).sort("run_id").collect()
    known = sight.rows(RUNS, counts["run_id"].to_list())["run_id"]
    waiting = sight.journal.points(METRICS.name, after={}).column("run_id").unique().to_pylist()
    gone = counts.filter(
        ~pl.col("run_id").is_in(
            pl.concat([known, pl.Series("run_id", waiting, pl.String)]).implode()
        )
    )
    return dict(gone.iter_rows())


def recover(store: Store) -> int:
    """Put records of all orphans; returns how many.

    The journal is absorbed first, so that no point is counted both from there and from the series.
    """
    from mlrun.journal.absorb import absorb
    from mlrun.lookup.sight import snapshot

    absorb(store, wait=True)
    with snapshot(store) as sight:
        found = list(orphans(store, sight))
    for start in range(0, len(found), _BATCH):
        _put(store, found[start : start + _BATCH])
    return len(found)


def _put(store: Store, run_ids: list[str]) -> None:
    from mlrun.journal.fold import fold_points

    points = store.series.snapshot(METRICS).scan(PointFilter(run_ids=tuple(run_ids))).read_all()
    # summaries are added to what is there: a part of them may have come from the journal
    ops: list[Op] = [("del", SUMMARIES.name, {"run_id": run_id}) for run_id in run_ids]
    ops += [("put", RUNS.name, row) for row in _rows(points)]
    store.records.apply(ops, summaries=fold_points(points))


def _rows(points: Any) -> Iterator[dict[str, Any]]:
    import polars as pl

    spans = (
        pl.DataFrame(points)
        .group_by("run_id")
        .agg(
            pl.col("project").first(),
            pl.col("time").min().dt.epoch("us").alias("started_at"),
            pl.col("time").max().dt.epoch("us").alias("finished_at"),
        )
    )
    stamp = now_us()
    notes = "Rebuilt from its points: parameters, results and everything else of it are lost."
    for row in spans.iter_rows(named=True):
        name = f"recovered-{row['run_id'][-8:]}"
        yield {
            **row,
            "name": name,
            "state": "lost",
            "kind": KIND,
            "notes": notes,
            "updated_at": stamp,
        }
