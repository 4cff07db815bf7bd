"""Import an export: verify everything, then objects, then points, and last, in one transaction, the runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.care.recovery import KIND
from mlrun.care.transfer import RECORDS, SERIES
from mlrun.care.transferfile import checked, open_source
from mlrun.content.folders import put_all
from mlrun.contracts import CanDeleteRuns, PointFilter
from mlrun.errors import ObjectError, SchemaMismatch, StoreError
from mlrun.lookup.liveness import OPEN_STATES
from mlrun.tables import (
    ALIASES,
    ARTIFACTS,
    EXPIRATIONS,
    FUNCTION_TAGS,
    FUNCTIONS,
    LINEAGE,
    METRICS,
    PARAMS,
    POLICIES,
    PROJECTS,
    RESULTS,
    ROLLUPS,
    RUNS,
    SCHEDULES,
    SUMMARIES,
    TAGS,
    VIEWS,
    Table,
    conform,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import polars as pl
    import pyarrow as pa

    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = ["import_runs"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BATCH = 500  # runs in one transaction
_DECODED = ("num", "text")  # made anew from `value` by the records store


def import_runs(
    store: Store, source: Path, *, progress: Callable[[str], None] = lambda _: None
) -> dict[str, int]:
    """Read an export into a store.

    Runs whose id is there already, also deleted or archived ones, are left as they are. Artifact versions keep their
    numbers unless the store has other content under one; an alias that the store has stays where it is. Schedules come
    switched off, so that two stores never start the same thing.

    Args:
        store: where to.
        source: the folder or `.tar` that `export_runs` made.
        progress: told what is being done.

    Returns:
        Counts: `runs`, `runs_present` (left alone), `points`, `lines`, `objects`, `versions_renumbered`, `schedules`.

    Raises:
        ObjectError: bytes differ from the manifest; no run was imported.
        StoreError: it is no export, or rows are missing afterwards.
    """
    store.prepare()
    store.flush_records()
    lock = FileLock(store.folder / "import.lock")
    with open_source(source, store.folder) as (folder, manifest), lock:
        progress("checking the export")
        files = {t.name: _checked_files(folder, manifest, t) for t in (*RECORDS, *SERIES)}
        return _take(store, folder, manifest["objects"], files, progress)


def _take(
    store: Store,
    folder: Path,
    objects: dict[str, int],
    files: dict[str, list[Path]],
    progress: Callable[[str], None],
) -> dict[str, int]:
    """Store what the checked files of an export hold of runs that are not there yet."""
    records = {t.name: _read(files[t.name], t) for t in RECORDS}
    given = records[RUNS.name]["run_id"].to_list()
    known = _known(store, given)
    new = [r for r in given if r not in known]
    counts = {"runs": len(new), "runs_present": len(known)}
    progress("storing objects")
    counts["objects"] = _put_objects(store, folder, objects)
    for table in SERIES:
        progress(f"storing {table.name}")
        name = "lines" if table.name == "logs" else "points"
        counts[name] = counts.get(name, 0) + _put_series(store, table, files[table.name], new)
    progress("storing records")
    # pending artifacts get their versions when they are absorbed: not between our look and our write
    with FileLock(store.journal / "records.lock"):
        counts["versions_renumbered"] = _put_artifacts(store, records, new)
        _put_runs(store, records, new)
        counts["schedules"] = _put_schedules(store, records[SCHEDULES.name])
        _put_kept(store, records, new)
    _compare_records(store, records, new)
    return counts


def _checked_files(folder: Path, manifest: dict[str, Any], table: Table) -> list[Path]:
    import pyarrow.parquet as pq

    entry = manifest["tables"].get(table.name, {"rows": 0, "files": []})
    paths, rows = [], 0
    try:
        for file in entry["files"]:
            paths.append(checked(folder, file["path"], size=file["size"], sha256=file["sha256"]))
            rows += pq.read_metadata(paths[-1]).num_rows
        expected = entry["rows"]
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the manifest is damaged: table {table.name!r} lacks {error}") from error
    except (OSError, ValueError) as error:
        raise ObjectError(f"{table.name}: {error}") from error
    if rows != expected:
        raise ObjectError(f"{table.name} has {rows} rows of {expected}")
    return paths


def _read(paths: list[Path], table: Table) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    parts = [_table(path, table) for path in paths] or [table.schema.empty_table()]
    frame = pl.from_arrow(pa.concat_tables(parts))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _table(path: Path, table: Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return conform(pq.read_table(path), table)
    except (pa.ArrowException, SchemaMismatch) as error:
        raise ObjectError(f"{path.name} cannot be read as {table.name}: {error}") from error


def _known(store: Store, run_ids: list[str]) -> set[str]:
    from mlrun.lookup.sight import snapshot

    with snapshot(store) as sight:
        found = sight.rows(RUNS, run_ids)
    # of a recovered run only the points are there: the export has all of it
    return {r for r, kind in found.select("run_id", "kind").iter_rows() if kind != KIND}


def _put_objects(store: Store, folder: Path, objects: dict[str, int]) -> int:
    names = sorted(objects)
    for sha256 in names:
        if not _SHA256.fullmatch(sha256):
            raise ObjectError(f"the manifest is damaged: {sha256[:80]!r} is not a SHA-256")
    for start in range(0, len(names), _BATCH):
        paths = [
            checked(folder, f"objects/{s[:2]}/{s}", size=objects[s], sha256=s)
            for s in names[start : start + _BATCH]
        ]
        put_all(store.objects, paths)
    return len(objects)


def _put_series(store: Store, table: Table, paths: list[Path], new: list[str]) -> int:
    """Append the rows of new runs; returns how many. What a killed import left of these runs is removed first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mlrun.series.rollups import build

    series = store.series
    if not new or not paths:
        return 0
    tables = (table, ROLLUPS) if table is METRICS else (table,)
    for one in tables:
        if _count(store, one, new):
            if not isinstance(series, CanDeleteRuns):
                raise StoreError(
                    f"{one.name} has rows of an unfinished import, and {series!r} cannot free them"
                )
            series.delete_runs(one, new)
    total = 0
    for path in paths:
        rows = _table(path, table)
        rows = rows.filter(pc.is_in(rows.column("run_id"), pa.array(new, pa.string())))
        if rows.num_rows:
            series.append(table, rows)
            if table is METRICS:
                series.append(ROLLUPS, build(rows))
        total += rows.num_rows
    if (stored := _count(store, table, new)) != total:
        raise StoreError(f"{table.name}: {stored} rows are stored, {total} were read")
    return total


def _count(store: Store, table: Table, run_ids: list[str]) -> int:
    found = store.series.snapshot(table).scan(
        PointFilter(run_ids=tuple(run_ids)), columns=["run_id"]
    )
    return sum(batch.num_rows for batch in found)


def _put_artifacts(store: Store, records: dict[str, pl.DataFrame], new: list[str]) -> int:
    """Store versions, lineage and aliases of new runs; returns how many versions got another number."""
    import polars as pl

    lineage = records[LINEAGE.name].filter(pl.col("run_id").is_in(new))
    version = ["project", "key", "version"]
    artifacts = records[ARTIFACTS.name]
    # of no run: an alias keeps it
    named_only = artifacts.join(records[LINEAGE.name], on=version, how="anti")
    wanted = pl.concat([artifacts.join(lineage, on=version, how="semi"), named_only]).sort(version)
    where = {
        "project": wanted["project"].unique().to_list(),
        "key": wanted["key"].unique().to_list(),
    }
    with store.records.read() as view:
        there = view.scan(ARTIFACTS, where=where).to_pylist() if wanted.height else []
        named = view.scan(ALIASES, where=where).to_pylist() if wanted.height else []
    numbers = _numbers(there, wanted.to_dicts())
    alone = {_id(row) for row in named_only.to_dicts()}
    known = {(*_id(row)[:2], row["sha256"], row["type"]) for row in there}
    ops: list[Op] = []
    for row in _rows(wanted):
        if _id(row) in alone and (*_id(row)[:2], row["sha256"], row["type"]) in known:
            continue  # as it is here: it may have been changed since
        ops.append(("put", ARTIFACTS.name, {**row, "version": numbers[_id(row)]}))
    for row in _rows(lineage):
        if _id(row) in numbers:
            ops.append(("put", LINEAGE.name, {**row, "version": numbers[_id(row)]}))
    taken = {(r["project"], r["key"], r["alias"]) for r in named}
    for row in _rows(records[ALIASES.name]):
        if _id(row) in numbers and (row["project"], row["key"], row["alias"]) not in taken:
            ops.append(("put", ALIASES.name, {**row, "version": numbers[_id(row)]}))
    if ops:
        store.records.apply(ops)
    return sum(old[2] != now for old, now in numbers.items())


_Id = tuple[str, str, int]


def _id(row: dict[str, Any]) -> _Id:
    return row["project"], row["key"], row["version"]


def _numbers(there: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> dict[_Id, int]:
    """Give each imported version its number: that of the same content, else its own if free, else the next."""
    taken: dict[tuple[str, str], dict[int, tuple[str, str]]] = {}
    for row in there:
        taken.setdefault(_id(row)[:2], {})[row["version"]] = (row["sha256"], row["type"])
    numbers: dict[_Id, int] = {}
    for row in wanted:
        content = (row["sha256"], row["type"])
        mine = taken.setdefault(_id(row)[:2], {})
        same = [v for v, c in mine.items() if c == content]
        number = (
            same[0] if same else row["version"] if row["version"] not in mine else max(mine) + 1
        )
        mine[number] = content
        numbers[_id(row)] = number
    return numbers


def _put_runs(store: Store, records: dict[str, pl.DataFrame], new: list[str]) -> None:
    import polars as pl

    stored = {row["name"] for row in _stored_projects(store)}
    for row in _rows(records[PROJECTS.name]):
        if row["name"] not in stored:
            store.records.apply([("put", PROJECTS.name, row)])
    _put_functions(store, records)
    for start in range(0, len(new), _BATCH):
        batch = pl.col("run_id").is_in(new[start : start + _BATCH])
        ops: list[Op] = [
            ("del", SUMMARIES.name, {"run_id": r}) for r in new[start : start + _BATCH]
        ]
        ops += [
            ("put", table.name, row)
            for table in (RUNS, PARAMS, RESULTS, TAGS)
            for row in _rows(_ended(table, records[table.name].filter(batch)))
        ]
        found = _rows(records[SUMMARIES.name].filter(batch))
        summaries = [tuple(row[c] for c in SUMMARIES.names) for row in found]
        # a run and its summaries at once: summaries are added to what is there, so never twice
        store.records.apply(ops, summaries=summaries)


def _put_functions(store: Store, records: dict[str, pl.DataFrame]) -> None:
    """Store versions of functions, which never change, and the tags that name nothing here yet."""
    rows = list(_rows(records[FUNCTION_TAGS.name]))
    where = {"project": sorted({row["project"] for row in rows})}
    with store.records.read() as view:
        stored = view.scan(FUNCTION_TAGS, where=where).to_pylist() if rows else []
    taken = {tuple(row[k] for k in FUNCTION_TAGS.key) for row in stored}
    ops: list[Op] = [("put", FUNCTIONS.name, row) for row in _rows(records[FUNCTIONS.name])]
    ops += [
        ("put", FUNCTION_TAGS.name, row)
        for row in rows
        if tuple(row[k] for k in FUNCTION_TAGS.key) not in taken
    ]
    if ops:
        store.records.apply(ops)


def _put_schedules(store: Store, found: pl.DataFrame) -> int:
    """Store the schedules whose names are free, switched off; returns how many."""
    import polars as pl

    with store.records.read() as view:
        taken = {(r["project"], r["name"]) for r in view.scan(SCHEDULES).to_pylist()}
    rows = [
        row
        for row in _rows(found.with_columns(pl.lit(False).alias("enabled")))
        if (row["project"], row["name"]) not in taken
    ]
    if rows:
        store.records.apply([("put", SCHEDULES.name, row) for row in rows])
    return len(rows)


def _put_kept(store: Store, records: dict[str, pl.DataFrame], new: list[str]) -> None:
    """Store views and policies that are not there yet, and what of the new runs a policy has removed elsewhere."""
    rows = [r for r in _rows(records[EXPIRATIONS.name]) if r["run_id"] in set(new)]
    ops: list[Op] = [("put", EXPIRATIONS.name, row) for row in rows]
    for table in (VIEWS, POLICIES):
        with store.records.read() as view:
            taken = {tuple(r[k] for k in table.key) for r in view.scan(table).to_pylist()}
        ops += [
            ("put", table.name, row)
            for row in _rows(records[table.name])
            if tuple(row[k] for k in table.key) not in taken
        ]
    if ops:
        store.records.apply(ops)


def _compare_records(store: Store, records: dict[str, pl.DataFrame], new: list[str]) -> None:
    """Count what is stored of the new runs; StoreError if it is not what was read."""
    import polars as pl

    with store.records.read() as view:
        for table in (RUNS, PARAMS, RESULTS, TAGS, SUMMARIES):
            found = view.scan(table, columns=["run_id"], where={"run_id": new}).num_rows
            read = records[table.name].filter(pl.col("run_id").is_in(new)).height
            if found != read:
                raise StoreError(f"{table.name}: {found} rows are stored, {read} were read")


def _ended(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Runs that were open when they were exported are lost here: their writer is another store's."""
    import polars as pl

    if table is not RUNS:
        return rows
    lost = pl.when(pl.col("state").is_in(OPEN_STATES)).then(pl.lit("lost")).otherwise("state")
    return rows.with_columns(lost.alias("state"), pl.lit(None, pl.String).alias("writer"))


def _stored_projects(store: Store) -> list[dict[str, Any]]:
    with store.records.read() as view:
        return list(view.scan(PROJECTS, columns=["name"]).to_pylist())


def _rows(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as ops have them: timestamps as int microseconds, decoded forms left out."""
    import polars as pl

    plain = frame.with_columns(pl.col(pl.Datetime).dt.epoch("us")).drop(_DECODED, strict=False)
    return plain.iter_rows(named=True)
