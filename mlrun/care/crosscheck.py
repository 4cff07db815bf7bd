"""What the parts of a store say of each other: records and series, records and objects, runs and their writers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.care.reachable import referenced
from mlrun.care.recovery import orphans, recover
from mlrun.care.retention import expired_runs
from mlrun.contracts import Finding
from mlrun.ids import now_us
from mlrun.lookup.liveness import is_alive
from mlrun.lookup.sight import snapshot
from mlrun.tables import ALIASES, ARTIFACTS, LINEAGE, METRICS, RUNS, SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from mlrun.journal.snapshot import JournalSnapshot
    from mlrun.lookup.sight import Snapshot
    from mlrun.store import Store

__all__ = ["compare_artifacts", "compare_points"]

_EXAMPLES = 20  # findings of one kind that are told one by one


def compare_points(store: Store, *, repair: bool = False) -> list[Finding]:
    """Compare runs, their summaries and writers with the points that are stored.

    Args:
        store: the store.
        repair: list runs again that have only their points left.
    """
    done = _recover(store) if repair else []
    with snapshot(store) as sight:
        return [
            *done,
            *_check_writers(sight.journal, sight.rows(RUNS, None)),
            *_check_orphans(store, sight),
            *_check_counts(store, sight),
        ]


def compare_artifacts(store: Store) -> list[Finding]:
    """Compare artifacts, their names and lineage with the bytes that are stored."""
    with snapshot(store) as sight:
        runs = sight.rows(RUNS, None).to_dicts()
        artifacts = sight.shared(ARTIFACTS)
        dangling = list(_check_names(sight, artifacts))
    return [*dangling, *_check_objects(store, artifacts.to_dicts(), runs)]


def _recover(store: Store) -> list[Finding]:
    count = recover(store)
    what = f"{count} runs had points and no record: they are listed again, as lost, without parameters and results"
    return [Finding("repaired", "runs", what)] if count else []


def _check_orphans(store: Store, sight: Snapshot) -> Iterator[Finding]:
    found = orphans(store, sight)
    if found:
        first = ", ".join(list(found)[:3])
        what = f"{sum(found.values()):,} points of {len(found)} runs that have no record ({first})"
        yield Finding("repairable", "runs", f"{what}; after a killed import, import again")


def _check_counts(store: Store, sight: Snapshot) -> Iterator[Finding]:
    """Compare the number of rows of every series with what its summary counted."""
    import polars as pl

    view = store.series.snapshot(METRICS)
    by = ["run_id", "key"]
    stored = view.lazy().group_by(by).agg(pl.len().cast(pl.Int64).alias("rows")).collect()
    waiting = pl.DataFrame(sight.journal.points(METRICS.name, after=view.marks()))
    fresh = (
        waiting.select(pl.col(by).cast(pl.String))
        .group_by(by)
        .agg(pl.len().cast(pl.Int64).alias("rows"))
    )
    rows = pl.concat([stored, fresh]).group_by(by).agg(pl.col("rows").sum())
    told = sight.rows(SUMMARIES, None).select(*by, "count")
    both = told.join(rows, on=by, how="full", coalesce=True).with_columns(
        pl.col("count", "rows").fill_null(0)
    )
    # a writer may have gone on between the two looks: only fewer rows than counted are a loss
    wrong = both.filter(pl.col("rows") != pl.col("count")).sort(by)
    wrong = wrong.filter(~pl.col("run_id").is_in(list(orphans(store, sight))))
    past = pl.col("run_id").is_in(list(_past_their_time(store, sight)))
    wrong = wrong.filter(~past | (pl.col("rows") > pl.col("count")))
    live = _written_now(sight)
    for run_id, key, count, number in (
        wrong.select(*by, "count", "rows").head(_EXAMPLES).iter_rows()
    ):
        where = f"run {run_id}, metric {key!r}"
        if number < count:
            yield Finding(
                "lost",
                where,
                f"{count - number} of {count} points that were counted are not stored",
            )
        elif run_id not in live:
            yield Finding("note", where, f"{number} points are stored, its summary counts {count}")
    if wrong.height > _EXAMPLES:
        yield Finding(
            "note", "metrics", f"{wrong.height - _EXAMPLES} more series differ from their summaries"
        )


def _past_their_time(store: Store, sight: Snapshot) -> set[str]:
    """Return the runs of which points may have gone because somebody said how long they are kept."""
    import polars as pl

    found = set(expired_runs(store))
    days = getattr(store.series, "retention_days", 0)
    if days:  # the database lets rows go by their age, when it merges
        limit = now_us() - int(days * 86_400e6)
        runs = sight.rows(RUNS, None)
        found.update(runs.filter(pl.col("started_at").dt.epoch("us") < limit)["run_id"])
    return found


def _written_now(sight: Snapshot) -> set[str]:
    runs = sight.rows(RUNS, None)
    return {
        run_id
        for run_id, writer in runs.select("run_id", "writer").iter_rows()
        if writer and is_alive(sight.journal, writer)
    }


def _check_writers(journal: JournalSnapshot, runs: pl.DataFrame) -> Iterator[Finding]:
    import polars as pl

    lost = runs.filter((pl.col("state") == "lost") & pl.col("deleted_at").is_null())
    for run_id, name in lost.select("run_id", "name").head(_EXAMPLES).iter_rows():
        yield Finding(
            "note",
            f"run {run_id}",
            f"{name!r} is lost: its process died; its points are kept, it can be resumed",
        )
    if lost.height > _EXAMPLES:
        yield Finding("note", "runs", f"{lost.height - _EXAMPLES} more runs are lost")


def _check_names(sight: Snapshot, artifacts: pl.DataFrame) -> Iterator[Finding]:
    """Look for aliases and lineage of versions that are not there."""
    on = ["project", "key", "version"]
    for table, what in ((ALIASES, "alias"), (LINEAGE, "lineage")):
        dangling = sight.shared(table).join(artifacts, on=on, how="anti").unique(on).sort(on)
        for project, key, version in dangling.select(on).head(_EXAMPLES).iter_rows():
            yield Finding(
                "note",
                f"artifact {project}/{key}:v{version}",
                f"{what} of a version that is not there",
            )


def _check_objects(
    store: Store, artifacts: list[dict[str, Any]], runs: list[dict[str, Any]]
) -> Iterator[Finding]:
    """Look for artifacts whose bytes are missing, and for bytes that nothing refers to."""
    kept = [row for row in artifacts if row["deleted_at"] is None]
    owners = referenced(kept, runs, store.objects)
    there = {o.sha256: o.size for o in store.objects.list()}
    for sha256, owner in sorted(owners.items()):
        if sha256 not in there:
            yield Finding(
                "lost", f"objects/{sha256[:2]}/{sha256}", f"missing: the bytes of {owner}"
            )
    spare = [size for sha256, size in there.items() if sha256 not in owners]
    if spare:
        what = f"{len(spare)} objects ({sum(spare):,} bytes) that nothing refers to; compact frees them after a day"
        yield Finding("note", "objects", what)
