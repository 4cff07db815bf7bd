"""`compact`: absorb what waits, free what is past its time, merge small files.

Runs deleted softly are kept for 30 days (or as long as their project's policy says), objects that nothing references
for a day: a process may have stored the bytes and not yet the record. Everything here may run beside writers and
readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.care.reachable import referenced
from mlrun.care.retention import expire, waiting_runs
from mlrun.care.studies import free_studies
from mlrun.contracts import CanCompact, CanDeleteRuns, CanRollUp, CanSweep
from mlrun.errors import MlrunError
from mlrun.ids import now_us
from mlrun.journal.absorb import absorb
from mlrun.tables import (
    ALIASES,
    ARTIFACTS,
    EXPIRATIONS,
    LINEAGE,
    PARAMS,
    POLICIES,
    RESULTS,
    RUNS,
    SUMMARIES,
    TABLES,
    TAGS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = ["KEEP_DELETED_DAYS", "KEEP_ORPHAN_SECONDS", "compact"]

KEEP_DELETED_DAYS = 30
KEEP_ORPHAN_SECONDS = 86_400
_SERIES = [t for t in TABLES.values() if t.kind == "series"]
_BATCH = 500  # runs freed in one transaction


def compact(store: Store, *, progress: Callable[[str], None] = lambda _: None) -> dict[str, int]:
    """Do all of it; returns counts: rows and files absorbed, runs, objects and studies of Ray Tune freed, files merged.

    Args:
        store: the store.
        progress: told what is being done, in a few words.
    """
    progress("absorbing the journal")
    counts = dict(absorb(store, wait=True))
    progress("freeing deleted runs")
    counts["runs_freed"] = _free_runs(store)
    progress("freeing unreferenced objects")
    counts["objects_freed"] = _free_objects(store)
    counts["studies_freed"] = free_studies(store)
    if isinstance(store.series, CanRollUp):
        progress("rolling up points")
        store.series.roll_up(least=1)
    progress("freeing points past their time")
    counts |= expire(store)
    for table in _SERIES:
        progress(f"merging files of {table.name}")
        if isinstance(store.series, CanCompact):
            for name, number in store.series.compact(table).items():
                counts[name] = counts.get(name, 0) + number
    return counts


def _free_runs(store: Store) -> int:
    import pyarrow.compute as pc

    given = {p["project"]: p["deleted_days"] for p in store.records.lookup(POLICIES, {})}
    with store.records.read() as view:
        found = view.scan(RUNS, columns=["run_id", "project", "deleted_at"])
    deleted = found.filter(pc.is_valid(found.column("deleted_at")))
    past = [
        run_id
        for run_id, project, at in zip(
            *(deleted.column(c).to_pylist() for c in ("run_id", "project")),
            deleted.column("deleted_at").cast("int64").to_pylist(),
            strict=True,
        )
        if at < now_us() - (given.get(project) or KEEP_DELETED_DAYS) * 86_400_000_000
    ]
    waiting = waiting_runs(store, past)
    expired = [r for r in past if r not in waiting]
    for start in range(0, len(expired), _BATCH):
        batch = expired[start : start + _BATCH]
        if isinstance(store.series, CanDeleteRuns):
            for table in _SERIES:
                store.series.delete_runs(table, batch)
        # last: until then a crash leaves the runs listed as deleted
        store.records.apply(list(_forget(batch)))
    _forget_artifacts(store)
    return len(expired)


def _forget(run_ids: list[str]) -> Iterator[Op]:
    for run_id in run_ids:
        for table in (PARAMS, RESULTS, SUMMARIES, TAGS, LINEAGE, EXPIRATIONS, RUNS):
            yield ("del", table.name, {"run_id": run_id})


def _forget_artifacts(store: Store) -> None:
    """Delete artifact versions that no remaining run made or used and no alias names."""
    with store.records.read() as view:
        kept = {_version(r) for t in (LINEAGE, ALIASES) for r in view.scan(t).to_pylist()}
        gone = [r for r in view.scan(ARTIFACTS).to_pylist() if _version(r) not in kept]
    if gone:
        store.records.apply(
            [("del", ARTIFACTS.name, {k: r[k] for k in ARTIFACTS.key}) for r in gone]
        )


def _version(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["project"], row["key"], row["version"]


def _free_objects(store: Store) -> int:
    if not isinstance(store.objects, CanSweep):
        return 0
    with store.records.read() as view:
        artifacts = view.scan(
            ARTIFACTS, columns=[*ARTIFACTS.key, "sha256", "uri", "meta"]
        ).to_pylist()
        runs = view.scan(RUNS, columns=["run_id", "provenance"]).to_pylist()
    try:
        used = referenced(artifacts, runs, store.objects, strict=True)
    except (MlrunError, OSError):
        return 0  # a folder's list of files cannot be read: free nothing before `doctor` has looked
    return store.objects.sweep(used, older_s=KEEP_ORPHAN_SECONDS)[0]
