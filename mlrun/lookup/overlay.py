"""What the records store does not say yet: runs whose newest records or points still lie in the journal.

A question about runs is answered by the records store for all runs that the journal does not touch, and by these frames
for those that it does. The journal is listed and mapped before the store's snapshot is opened (see `mlrun.journal`), so
that nothing is missed and nothing is counted twice.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.journal.fold import merge
from mlrun.journal.foldcache import fold_pending
from mlrun.lookup.liveness import OPEN_STATES, is_alive, state_without_writer
from mlrun.lookup.opcheck import misfit
from mlrun.recordops import END_COLUMNS, abort_stays
from mlrun.tables import (
    ALIASES,
    ARTIFACTS,
    LINEAGE,
    PARAMS,
    PROJECTS,
    RESULTS,
    RUNS,
    SUMMARIES,
    TAGS,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import polars as pl

    from mlrun.contracts import Op, RecordsView
    from mlrun.journal.snapshot import JournalSnapshot

__all__ = ["Overlay", "load_overlay", "record_frame"]

_PER_RUN = (RUNS, PARAMS, RESULTS, TAGS, SUMMARIES)
_SHARED = (PROJECTS, ARTIFACTS, LINEAGE, ALIASES)


@dataclass
class Overlay:
    """Rows of the touched runs, store and journal merged.

    Attributes:
        run_ids: runs whose rows in the store are stale.
        tables: for the per-run tables, every row of these runs; for the shared ones (artifacts, lineage, aliases,
            projects), only rows that are pending, to be laid over the stored ones by key.
    """

    run_ids: frozenset[str] = frozenset()
    tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    deleted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _frames: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False)

    def frame(self, table: Table) -> pl.DataFrame:
        """Return the rows of a table in its Arrow types; made once."""
        if table.name not in self._frames:
            self._frames[table.name] = record_frame(table, self.tables.get(table.name, {}).values())
        return self._frames[table.name]


def record_frame(table: Table, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Build a frame with the table's columns from plain rows; timestamps are int microseconds, absent columns null."""
    import polars as pl

    kinds = {
        "string": pl.String, "json": pl.String, "int64": pl.Int64, "float64": pl.Float64, "bool": pl.Boolean,
        "timestamp": pl.Int64,
    }  # fmt: skip
    found = list(rows)
    time = pl.Datetime("us", "UTC")
    columns = []
    for c in table.columns:
        values = pl.Series(c.name, [r.get(c.name) for r in found], kinds[c.type])
        columns.append(values.cast(time) if c.type == "timestamp" else values)
    return pl.DataFrame(columns)


def load_overlay(journal: JournalSnapshot, view: RecordsView) -> Overlay:
    """Merge what the journal holds past the view's marks with the stored rows of the runs that it touches."""
    marks = view.marks()
    # what fits no table is set aside when it is absorbed, and must not hide the rest until then
    ops = [op for _, _, batch in journal.ops(marks) for op in batch if not misfit(op)]
    folded = fold_pending(journal, marks)
    touched = {
        row["run_id"] for verb, table, row in ops if verb != "artifact" and table in _run_tables()
    }
    touched |= {row[0] for row in folded} | _dead_runs(journal, view)
    if not ops and not touched:
        return Overlay()
    overlay = Overlay(frozenset(touched))
    for table in _PER_RUN:
        overlay.tables[table.name] = _stored(view, table, touched) if touched else {}
    for op in ops:
        _apply(overlay, op, view)
    for row in folded:
        _merge_summary(overlay.tables[SUMMARIES.name], row)
    _mark_lost(overlay, journal)
    return overlay


def _run_tables() -> set[str]:
    return {t.name for t in _PER_RUN}


def _stored(
    view: RecordsView, table: Table, run_ids: set[str]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    import pyarrow as pa

    found = view.scan(table, where={"run_id": sorted(run_ids)})
    for i, column in enumerate(table.columns):
        if column.type == "timestamp":
            found = found.set_column(i, column.name, found.column(i).cast(pa.int64()))
    return {tuple(row[k] for k in table.key): row for row in found.to_pylist()}


def _apply(overlay: Overlay, op: Op, view: RecordsView) -> None:
    verb, name, row = op
    if verb == "artifact":
        _register(overlay, row, view)
        return
    from mlrun.tables import TABLES

    table = TABLES[name]
    rows = overlay.tables.setdefault(name, {})
    if verb == "put":
        key = tuple(row[k] for k in table.key)
        stored = rows.setdefault(key, dict.fromkeys(table.names))
        if table is RUNS and abort_stays(stored, row):
            row = {c: v for c, v in row.items() if c not in END_COLUMNS}
        stored.update(_with_decoded(table, row))
        return
    for key in [k for k, r in rows.items() if all(r.get(c) == v for c, v in row.items())]:
        del rows[key]
    overlay.deleted.setdefault(name, []).append(row)


def _with_decoded(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    if table not in (PARAMS, RESULTS) or "value" not in row or "num" in row:
        return row
    value = json.loads(row["value"])
    return {**row, "num": _number(value), "text": value if isinstance(value, str) else None}


def _number(value: Any) -> float | None:
    """The float64 of a JSON number; what is beyond its range is infinite, as the records store has it."""
    if not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _register(overlay: Overlay, row: dict[str, Any], view: RecordsView) -> None:
    """Give a pending artifact the version that it will get when it is absorbed."""
    project, key = row["project"], row["key"]
    pending = overlay.tables.setdefault(ARTIFACTS.name, {})
    stored = view.scan(ARTIFACTS, where={"project": [project], "key": [key]}).to_pylist()
    known = stored + [r for r in pending.values() if (r["project"], r["key"]) == (project, key)]
    same = [r["version"] for r in known if _content(r) == _content(row)]
    version = same[0] if same else max((r["version"] for r in known), default=0) + 1
    if not same:
        fields = {c: row.get(c) for c in ARTIFACTS.names}
        pending[(project, key, version)] = {**fields, "version": version}
    made = {
        "run_id": row["run_id"], "project": project, "key": key, "version": version,
        "role": row.get("role", "output"), "step": row.get("step") or 0, "time": row["created_at"],
    }  # fmt: skip
    overlay.tables.setdefault(LINEAGE.name, {})[tuple(made[k] for k in LINEAGE.key)] = made
    for alias in row.get("aliases") or ():
        named = {
            "project": project,
            "key": key,
            "alias": alias,
            "version": version,
            "updated_at": row["created_at"],
        }
        overlay.tables.setdefault(ALIASES.name, {})[(project, key, alias)] = named


def _content(row: Mapping[str, Any]) -> tuple[str, Any]:
    """What makes two artifacts one version: type and hash, or the address where there is no hash."""
    return row["type"], row.get("sha256") or row.get("uri")


def _merge_summary(rows: dict[tuple[Any, ...], dict[str, Any]], part: tuple[Any, ...]) -> None:
    old = rows.get(part[:2])
    if old is not None:
        part = merge(tuple(old[c] for c in SUMMARIES.names), part)
    rows[part[:2]] = dict(zip(SUMMARIES.names, part, strict=True))


def _dead_runs(journal: JournalSnapshot, view: RecordsView) -> set[str]:
    """Ids of stored runs that claim to be open although their writer is dead."""
    found = view.scan(
        RUNS, columns=["run_id", "writer", "updated_at"], where={"state": list(OPEN_STATES)}
    )
    columns = [
        found.column("run_id"),
        found.column("writer"),
        found.column("updated_at").cast("int64"),
    ]
    rows = zip(*(c.to_pylist() for c in columns), strict=True)
    return {
        run_id for run_id, writer, heard in rows if writer and not is_alive(journal, writer, heard)
    }


def _mark_lost(overlay: Overlay, journal: JournalSnapshot) -> None:
    for run in overlay.tables.get(RUNS.name, {}).values():
        writer = run.get("writer")
        if (
            run.get("state") in OPEN_STATES
            and writer
            and not is_alive(journal, writer, run.get("updated_at"))
        ):
            run["state"] = state_without_writer(run["state"])
