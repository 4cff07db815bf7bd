"""Export runs from a store, import them into another: rows, points, console lines and bytes of artifacts.

Everything is counted and hashed on the way out and compared on the way in. An import is idempotent: runs that are there
already (by id) are left alone, and one that was killed half-way is finished by running it again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlrun.care.reachable import referenced
from mlrun.care.transferfile import FORMAT, Sink, open_sink
from mlrun.contracts import PointFilter
from mlrun.errors import NotFound, ObjectError, ObjectsUnreachable
from mlrun.ids import uuid7
from mlrun.lookup.liveness import OPEN_STATES
from mlrun.tables import (
    ALIASES,
    ARTIFACTS,
    EXPIRATIONS,
    FUNCTION_TAGS,
    FUNCTIONS,
    LINEAGE,
    LOGS,
    METRICS,
    PARAMS,
    POLICIES,
    PROJECTS,
    RESULTS,
    RUNS,
    SCHEDULES,
    SUMMARIES,
    SYSTEM_METRICS,
    TAGS,
    VIEWS,
    Table,
    conform,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import polars as pl
    import pyarrow as pa

    from mlrun.lookup.sight import Snapshot
    from mlrun.store import Store

__all__ = ["RECORDS", "SERIES", "export_runs"]

RECORDS = (
    PROJECTS, RUNS, PARAMS, RESULTS, TAGS, SUMMARIES, ARTIFACTS, LINEAGE, ALIASES, FUNCTIONS, FUNCTION_TAGS,
    SCHEDULES, VIEWS, POLICIES, EXPIRATIONS,
)  # fmt: skip
SERIES = (METRICS, SYSTEM_METRICS, LOGS)
_CHUNK_ROWS = 1_000_000  # points in one file, about: bounds the memory of both sides
_CHUNK_RUNS = 500
_VERSION = ["project", "key", "version"]


def export_runs(
    store: Store,
    target: Path,
    run_ids: Sequence[str] | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write runs, with their children and all that belongs to them, to a folder or (by its name) a `.tar`.

    Live runs are written as they are at this moment. The store is only read, whatever engines it is made of, and the
    export fits every other. Who may use a gateway (keys, users, roles), its audit log and secrets of projects are no
    part of it, nor are rollups: of points that a policy has removed it holds the summaries.

    Args:
        store: where from.
        target: what to make; it must not be there.
        run_ids: full ids; None for the whole store: every run that is not deleted, and projects, functions, named
            artifacts and schedules that belong to none.
        progress: told what is being done.

    Returns:
        The manifest: `runs`, `tables` (rows and files of each), `objects` (SHA-256 to size) and `missing` (SHA-256 to
        the artifact whose bytes the store has lost: everything else is exported all the same).

    Raises:
        NotFound: a run is not in the store.
        StoreError: `target` is there already, or cannot be written.
        ObjectsUnreachable: the bytes of artifacts cannot be had just now; nothing is written.
    """
    from mlrun.lookup.sight import snapshot

    with open_sink(target) as sink, snapshot(store) as sight:
        progress("reading records")
        manifest = _write_all(store, sight, sink, _records(sight, run_ids), progress)
        sink.manifest(manifest)
    return manifest


def _write_all(
    store: Store,
    sight: Snapshot,
    sink: Sink,
    records: dict[str, pl.DataFrame],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for table in SERIES:
        progress(f"writing {table.name}")
        tables[table.name] = _write_series(store, sight, sink, table, records)
    for table in RECORDS:
        tables[table.name] = _write(sink, table, [_arrow(records[table.name], table)])
    progress("copying objects")
    objects, missing = _write_objects(store, sink, records)
    return {
        "format": FORMAT,
        "id": uuid7(),
        "created_at": datetime.now(UTC).isoformat(),
        "runs": records[RUNS.name].height,
        "tables": tables,
        "objects": objects,
        "missing": missing,
    }


def _records(sight: Snapshot, run_ids: Sequence[str] | None) -> dict[str, pl.DataFrame]:
    """Choose the runs and gather their rows of every records table."""
    import polars as pl

    every = sight.rows(RUNS, None)
    if run_ids is None:
        runs = every.filter(pl.col("deleted_at").is_null())
    else:
        if unknown := set(run_ids) - set(every["run_id"]):
            raise NotFound(f"no run {min(unknown)!r}")
        runs = every.filter(pl.col("run_id").is_in(_with_children(every, run_ids)))
    ids = runs["run_id"].to_list()
    out = {t.name: sight.rows(t, ids) for t in (PARAMS, RESULTS, TAGS, SUMMARIES)}
    out[RUNS.name] = runs
    of_runs = pl.col("run_id").is_in(ids)
    out[LINEAGE.name] = sight.shared(LINEAGE).filter(of_runs)
    whole = run_ids is None
    out[ALIASES.name] = sight.shared(ALIASES)
    kept = [out[LINEAGE.name].select(_VERSION)]
    if whole:  # a name keeps a version whose runs are gone
        kept.append(out[ALIASES.name].select(_VERSION))
    for table in (ARTIFACTS, ALIASES):
        out[table.name] = sight.shared(table).join(pl.concat(kept), on=_VERSION, how="semi")
    named = pl.concat([runs["project"], out[ARTIFACTS.name]["project"]]).unique().to_list()
    out[PROJECTS.name] = sight.shared(PROJECTS).filter(whole | pl.col("name").is_in(named))
    for table in (FUNCTIONS, FUNCTION_TAGS):
        out[table.name] = sight.shared(table).filter(whole | pl.col("project").is_in(named))
    for table in (SCHEDULES, VIEWS, POLICIES):
        out[table.name] = sight.shared(table).filter(pl.lit(whole))
    out[EXPIRATIONS.name] = sight.shared(EXPIRATIONS).filter(of_runs)
    return out


def _with_children(every: pl.DataFrame, run_ids: Sequence[str]) -> list[str]:
    import polars as pl

    wanted, fresh = set(run_ids), set(run_ids)
    while fresh:
        found = every.filter(pl.col("parent").is_in(list(fresh)))["run_id"].to_list()
        fresh = set(found) - wanted
        wanted |= fresh
    return sorted(wanted)


def _write_series(
    store: Store, sight: Snapshot, sink: Sink, table: Table, records: dict[str, pl.DataFrame]
) -> dict[str, Any]:
    import polars as pl

    from mlrun.journal.fold import fold_points
    from mlrun.lookup.overlay import record_frame

    # the journal was listed when `sight` was opened: before this snapshot, so that no row is missed
    view = store.series.snapshot(table)
    runs = records[RUNS.name]
    live = set(runs.filter(pl.col("state").is_in(OPEN_STATES))["run_id"])
    folded: list[tuple[Any, ...]] = []

    def parts() -> Iterator[pa.Table]:
        for where in _chunks(records):
            rows = _rows(sight, view, table, where)
            if table is METRICS and live.intersection(where.run_ids or ()):
                folded.extend(r for r in fold_points(rows) if r[0] in live)
            yield rows

    written = _write(sink, table, parts())
    if table is METRICS and live:
        # points of a live run may be newer than the summaries that were read before: count what is in the export
        kept = records[SUMMARIES.name].filter(~pl.col("run_id").is_in(list(live)))
        parts_of = [dict(zip(SUMMARIES.names, row, strict=True)) for row in folded]
        records[SUMMARIES.name] = pl.concat([kept, record_frame(SUMMARIES, parts_of)])
    return written


def _chunks(records: dict[str, pl.DataFrame]) -> Iterator[PointFilter]:
    """Split the runs so that each part has about `_CHUNK_ROWS` points; long series are split by step."""
    import polars as pl

    counts = records[SUMMARIES.name].group_by("run_id").agg(pl.col("count").sum())
    sizes = dict(counts.iter_rows())
    batch: list[str] = []
    total = 0
    for run_id in sorted(records[RUNS.name]["run_id"]):
        size = sizes.get(run_id, 0)
        if batch and (total + size > _CHUNK_ROWS or len(batch) >= _CHUNK_RUNS):
            yield PointFilter(run_ids=tuple(batch))
            batch, total = [], 0
        if size > _CHUNK_ROWS:
            yield from _steps(
                records[SUMMARIES.name].filter(pl.col("run_id") == run_id), run_id, size
            )
            continue
        batch.append(run_id)
        total += size
    if batch:
        yield PointFilter(run_ids=tuple(batch))


def _steps(summaries: pl.DataFrame, run_id: str, size: int) -> Iterator[PointFilter]:
    """Split one long run by step, open at both ends."""
    first, last = int(summaries["first_step"].min() or 0), int(summaries["last_step"].max() or 0)  # type: ignore[arg-type]
    parts = min(-(-size // _CHUNK_ROWS), max(1, last - first))
    edges = [first + (last - first) * i // parts for i in range(1, parts)]
    for low, high in zip([None, *edges], [*edges, None], strict=True):
        yield PointFilter(run_ids=(run_id,), steps=(low, None if high is None else high - 1))


def _rows(sight: Snapshot, view: Any, table: Table, where: PointFilter) -> pa.Table:
    """Return the rows of journal and store together, as the table's schema."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mlrun.series.ordering import sort_rows

    low, high = where.steps
    if table is LOGS:
        if low is not None:
            return LOGS.schema.empty_table()  # lines have no step: they came with the first part
        where = PointFilter(run_ids=where.run_ids)
        fresh = sight.journal.text(after=view.marks(), run_ids=where.run_ids)
    else:
        fresh = sight.journal.points(table.name, after=view.marks(), run_ids=where.run_ids)
        for bound, keep in ((low, pc.greater_equal), (high, pc.less_equal)):
            if bound is not None:
                fresh = fresh.filter(keep(fresh.column("step"), bound))
    stored = view.scan(where).read_all()
    return sort_rows(pa.concat_tables([conform(stored, table), conform(fresh, table)]), table.sort)


def _write(sink: Sink, table: Table, parts: Any) -> dict[str, Any]:
    files = [
        sink.table(f"tables/{table.name}-{number:05}.parquet", rows)
        for number, rows in enumerate(part for part in parts if part.num_rows)
    ]
    return {"rows": sum(f["rows"] for f in files), "files": files}


def _arrow(frame: pl.DataFrame, table: Table) -> pa.Table:
    return conform(frame.sort(table.key), table)


def _write_objects(
    store: Store, sink: Sink, records: dict[str, pl.DataFrame]
) -> tuple[dict[str, int], dict[str, str]]:
    """Copy the bytes that the records refer to; returns sizes, and who lacks bytes that are missing."""
    rows = records[ARTIFACTS.name].to_dicts(), records[RUNS.name].to_dicts()
    sizes: dict[str, int] = {}
    missing: dict[str, str] = {}
    for sha256, owner in sorted(referenced(*rows, store.objects).items()):
        try:
            # not by its path: of a bucket, each would be kept here
            file = store.objects.open(sha256, verify=True)
        except ObjectsUnreachable:
            raise  # nobody knows whether they are lost
        except (NotFound, ObjectError):
            missing[sha256] = owner
            continue
        with file:
            sizes[sha256] = sink.stream(f"objects/{sha256[:2]}/{sha256}", file)
    return sizes, missing
