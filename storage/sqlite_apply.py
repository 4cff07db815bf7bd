"""Changes: ops, folded summaries and marks, in one transaction.

Everything is checked, decoded and grouped before the transaction begins. Tables do not depend on each other, so the ops
of each are gathered (their order kept), puts of one key are merged, and rows with the same columns are written by one
prepared statement: an absorber applies thousands of runs in one call.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from mlrun.contracts import Mark
from mlrun.errors import MarkConflict, SchemaMismatch, StoreError
from mlrun.ids import now_us
from mlrun.tables import ALIASES, ARTIFACTS, LINEAGE, PARAMS, RUNS, SUMMARIES, TAGS

from .sqlite_schema import KEYED, LABELS, RECORDS, conflict, name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrun.contracts import Op
    from mlrun.tables import Column, Table

    from .sqlite_connect import Connection

__all__ = ["apply", "plan", "read_marks"]

Row = dict[str, Any]
# ("put", table, columns, rows) | ("del", table, key) | ("artifact", ARTIFACTS, row) | ("labels", LABELS, by run)
Step = tuple[Any, ...]
_CATALOG = f"{ARTIFACTS.name} {LINEAGE.name} {ALIASES.name}"  # an "artifact" op writes all three


def plan(ops: Iterable[Op]) -> list[Step]:
    """Check and group ops.

    Raises:
        SchemaMismatch: an op names a table or column that is not there, lacks a key, or has a value of a wrong type.
    """
    gathered: dict[str, _Gather] = {}
    for kind, table_name, row in ops:
        table = ARTIFACTS if kind == "artifact" else RECORDS.get(table_name)
        if table is None:
            raise SchemaMismatch.of(table_name, why="no such table of records")
        group = _CATALOG if table.name in _CATALOG else table.name
        into = gathered.get(group) or gathered.setdefault(group, _Gather())
        if kind == "put":
            into.put(table, row)
        elif kind == "del":
            into.other(("del", table, _checked(table, row, "which rows? no column is given")))
        elif kind == "artifact":
            into.other(("artifact", table, _artifact(row)))
        else:
            raise SchemaMismatch.of(table_name, why=f"no such op: {kind!r}")
    return [step for g in gathered.values() for step in g.steps()]


class _Gather:
    """Steps whose order matters; puts of one key between two other steps become one row."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[tuple[Any, ...], Row]] = {}
        self._steps: list[Step] = []

    def put(self, table: Table, row: Mapping[str, Any]) -> None:
        checked = _checked(table, row, "an empty row")
        for part in table.key:
            if checked.get(part) is None:
                if not table.column(part).nullable:
                    raise SchemaMismatch.of(table.name, missing=[part])
                checked[part] = None
        if "value" in checked:
            checked = decoded(checked["value"]) | checked
        rows = self._rows.setdefault(table.name, {})
        key = tuple(checked[k] for k in table.key)
        known = rows.get(key)
        rows[key] = checked if known is None else known | checked

    def other(self, step: Step) -> None:
        self._flush()
        self._steps.append(step)

    def steps(self) -> list[Step]:
        self._flush()
        return self._steps

    def _flush(self) -> None:
        for table_name, rows in self._rows.items():
            table = RECORDS[table_name]
            alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
            for row in rows.values():
                columns = tuple(c for c in table.names if c in row)
                alike.setdefault(columns, []).append(tuple(row[c] for c in columns))
            self._steps.extend(("put", table, columns, found) for columns, found in alike.items())
            if table is RUNS:
                texts = {key[0]: row["labels"] for key, row in rows.items() if "labels" in row}
                if texts:
                    self._steps.append(
                        ("labels", LABELS, {r: labels_of(t) for r, t in texts.items()})
                    )
        self._rows.clear()


def _checked(table: Table, row: Mapping[str, Any], empty: str) -> Row:
    """Return the row with values in their column's type."""
    if not row:
        raise SchemaMismatch.of(table.name, why=empty)
    columns = _COLUMNS[table.name]
    try:
        return {c: _as(columns[c], v, table) for c, v in row.items()}
    except KeyError:
        raise SchemaMismatch.of(table.name, unknown=set(row) - set(table.names)) from None


_COLUMNS = {t.name: {c.name: c for c in t.columns} for t in RECORDS.values()}


def _as(column: Column, value: Any, table: Table) -> Any:
    if value is None and column.nullable:
        return None
    if column.type in {"string", "json"}:
        if isinstance(value, str):
            return value
    elif isinstance(value, (int, float)):
        if column.type == "float64":
            return float(value)
        if value == value // 1 and -_INT64 <= value < _INT64:  # also True and 3.0
            return int(value)
    raise SchemaMismatch.of(
        table.name, why=f"column {column.name!r} is {column.type}, not {value!r:.80}"
    )


def decoded(value: str | None) -> Row:
    """Return the forms of a JSON value that indexes hold."""
    try:
        found = json.loads(value) if value is not None else None
    except ValueError as error:
        raise SchemaMismatch(f"value is not JSON: {value!r:.80}") from error
    if isinstance(found, str):
        return {"num": None, "text": found}
    if isinstance(found, (int, float)):
        try:
            return {"num": float(found), "text": None}
        except OverflowError:  # an integer beyond float64
            return {"num": math.inf if found > 0 else -math.inf, "text": None}
    return {"num": None, "text": None}


def labels_of(text: str | None) -> dict[str, str]:
    """Return the labels that a JSON text holds, each as JSON; none where it is no JSON object."""
    try:
        found = json.loads(text) if text is not None else {}
    except ValueError:  # `labels` is shown as it was given; there is nothing to look up in it
        return {}
    return {k: json.dumps(v) for k, v in found.items()} if isinstance(found, dict) else {}


_HOLES = 500
_INT64 = 1 << 63
_ARTIFACT_LINKS = ("run_id", "role", "step")


def _artifact(row: Mapping[str, Any]) -> Row:
    own = {
        c: v for c, v in row.items() if c in ARTIFACTS.names and c != "version" and v is not None
    }
    links = {c: row[c] for c in _ARTIFACT_LINKS if row.get(c) is not None}
    unknown = set(row) - set(ARTIFACTS.names) - set(_ARTIFACT_LINKS) - {"aliases"}
    lacking = {c for c in ("project", "key", "type", "uri") if own.get(c) is None}
    if unknown or lacking:
        raise SchemaMismatch.of(ARTIFACTS.name, unknown=unknown, missing=lacking)
    aliases = [_as(ALIASES.column("alias"), a, ALIASES) for a in row.get("aliases") or ()]
    return {
        "own": _checked(ARTIFACTS, own, ""),
        "links": _checked(LINEAGE, links, "") if links else {},
        "aliases": aliases,
    }


def apply(
    connection: Connection,
    steps: Sequence[Step],
    summaries: Sequence[Sequence[Any]],
    expected: Mapping[str, Mark] | None,
    marks: Mapping[str, Mark] | None,
) -> None:
    """Do planned steps inside a transaction that has begun."""
    if expected:
        _compare(connection, expected)
    rids, kids = _numbers(connection, steps, summaries)
    for kind, table, *rest in steps:
        if kind == "put":
            _put(connection, table, rest[0], rest[1], rids, kids)
        elif kind == "labels":
            put_labels(connection, rest[0])
        elif kind == "del":
            _delete(connection, table, *rest)
        else:
            _register(connection, *rest)
    if summaries:
        rows = [(rids[r[0]], kids[r[1]], *r[2:]) for r in summaries]
        connection.executemany(_MERGE, rows)
    if marks:
        holes = ", ".join("?" * (1 + len(Mark._fields)))
        connection.executemany(
            f"insert or replace into marks values ({holes})", [(w, *m) for w, m in marks.items()]
        )


def read_marks(connection: Connection) -> dict[str, Mark]:
    """Return all marks."""
    columns = ", ".join(name(f) for f in Mark._fields)
    return {r[0]: Mark(*r[1:]) for r in connection.rows(f"select writer, {columns} from marks")}


def _compare(connection: Connection, expected: Mapping[str, Mark]) -> None:
    stored = read_marks(connection)
    for writer, mark in expected.items():
        if stored.get(writer, Mark()) != mark:
            raise MarkConflict(
                f"writer {writer}: stored {stored.get(writer, Mark())}, expected {mark}"
            )


def _numbers(
    connection: Connection, steps: Sequence[Step], summaries: Sequence[Sequence[Any]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return rid and kid of every run and key that is written, making those that are new."""
    runs = {str(row[0]) for row in summaries}
    keys = {str(row[1]) for row in summaries}
    for kind, table, *rest in steps:
        if kind == "put" and table in (*KEYED, TAGS):
            runs.update(row[0] for row in rest[1])
            if table in KEYED:
                keys.update(row[1] for row in rest[1])
    return (
        numbers_of(connection, RUNS.name, "rid", RUNS.key[0], runs),
        numbers_of(connection, "keys", "kid", PARAMS.key[1], keys),
    )


def numbers_of(
    connection: Connection, table: str, number: str, column: str, texts: Iterable[str]
) -> dict[str, int]:
    wanted = sorted(texts)  # made in the order of run ids, so that neighbours lie near each other
    found = lookup_numbers(connection, table, number, column, wanted)
    if missing := [t for t in wanted if t not in found]:
        connection.executemany(
            f"insert into {table} ({column}) values (?)", [(t,) for t in missing]
        )
        found |= lookup_numbers(connection, table, number, column, missing)
    return found


def lookup_numbers(
    connection: Connection, table: str, number: str, column: str, texts: Sequence[str]
) -> dict[str, int]:
    """Return the number of every text that has one."""
    found: dict[str, int] = {}
    for start in range(0, len(texts), _HOLES):
        part = texts[start : start + _HOLES]
        holes = ", ".join("?" * len(part))
        found.update(
            connection.rows(
                f"select {column}, {number} from {table} where {column} in ({holes})", part
            )
        )
    return found


def _put(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
    rids: Mapping[str, int],
    kids: Mapping[str, int],
) -> None:
    targets = [name(c) for c in columns]
    lacking = [c.name for c in table.columns if not c.nullable and c.name not in columns]
    if table in KEYED:
        targets[:2] = ["rid", "kid"]
        rows = [(rids[r[0]], kids[r[1]], *r[2:]) for r in rows]
    elif table is TAGS:
        targets[:1] = ["rid"]
        rows = [(rids[r[0]], *r[1:]) for r in rows]
    elif table is RUNS and not lacking:
        targets.append("present")
        rows = [(*r, 1) for r in rows]
    # a change of a run may come before the run, from another process: it waits, unseen, for the rest
    if lacking and table is not RUNS:
        _update(connection, table, columns, targets, rows, lacking)
        return
    connection.executemany(put_statement(table, targets), rows)


def put_labels(connection: Connection, labels: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the labels of runs, given as JSON by key."""
    rids = numbers_of(connection, RUNS.name, "rid", RUNS.key[0], labels)
    kids = numbers_of(
        connection, "keys", "kid", PARAMS.key[1], {k for some in labels.values() for k in some}
    )
    connection.executemany("delete from labels where rid = ?", [(rid,) for rid in rids.values()])
    rows = []
    for run_id, some in labels.items():
        for key, value in some.items():
            forms = decoded(value)
            rows.append((rids[run_id], kids[key], value, "", forms["num"], forms["text"]))
    connection.executemany("insert into labels values (?, ?, ?, ?, ?, ?)", sorted(rows))


def put_statement(table: Table, targets: Sequence[str]) -> str:
    """Return the upsert of `targets`, names of columns as they lie in the file."""
    keys = {"rid", "kid", *(name(k) for k in table.key)}
    sets = ", ".join(f"{c} = excluded.{c}" for c in targets if c not in keys)
    holes = ", ".join("?" * len(targets))
    return (
        f"insert into {table.name} ({', '.join(targets)}) values ({holes}) "
        f"on conflict ({conflict(table)}) do " + (f"update set {sets}" if sets else "nothing")
    )


def _update(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    targets: list[str],
    rows: list[tuple[Any, ...]],
    lacking: list[str],
) -> None:
    """Put rows that do not have all columns that a new row needs: the rows must be there."""
    key = [i for i, c in enumerate(columns) if c in table.key]
    rest = [i for i in range(len(columns)) if i not in key]
    if not rest:
        raise SchemaMismatch.of(table.name, missing=lacking)
    sql = (
        f"update {table.name} set {', '.join(f'{targets[i]} = ?' for i in rest)} "
        f"where {' and '.join(f'{targets[i]} is ?' for i in key)}"
    )
    for row in rows:
        connection.execute(sql, [row[i] for i in (*rest, *key)])
        if connection.rows("select changes()") == [(0,)]:
            raise SchemaMismatch.of(table.name, missing=lacking, why="a new row")


def _delete(connection: Connection, table: Table, key: Row) -> None:
    terms, values = [], []
    for column, value in key.items():
        term = f"{name(column)} is ?"
        if table in (*KEYED, TAGS) and column == RUNS.key[0]:
            term = "rid = (select rid from runs where run_id = ?)"
        elif table in KEYED and column == PARAMS.key[1]:
            term = "kid = (select kid from keys where key = ?)"
        terms.append(term)
        values.append(value)
    where = " and ".join(terms)
    if table is RUNS:  # the rid stays: values of the run may point to it
        nulls = ", ".join(f"{name(c)} = null" for c in RUNS.names if c not in RUNS.key)
        connection.execute(
            f"delete from labels where rid in (select rid from runs where {where})", values
        )
        connection.execute(f"update runs set present = 0, {nulls} where {where}", values)
    else:
        connection.execute(f"delete from {table.name} where {where}", values)


def _register(connection: Connection, row: Row) -> None:
    """Give content its version, and put what points to it."""
    own, links = row["own"], row["links"]
    place = {c: own[c] for c in ("project", "key")}
    own.setdefault("created_at", now_us())
    # what has no hash is the same content when it lies at the same place
    found = connection.rows(
        "select version from artifacts where project = ? and key = ? and sha256 is ? and type = ? "
        "and (sha256 is not null or uri = ?) order by version limit 1",
        (own["project"], own["key"], own.get("sha256"), own["type"], own["uri"]),
    )
    if found:
        [(version,)] = found
        connection.execute(
            "update artifacts set deleted_at = null, uri = ? "
            "where project = ? and key = ? and version = ? and deleted_at is not null",
            (own["uri"], *place.values(), version),
        )
    else:
        [(version,)] = connection.rows(
            "select ifnull(max(version), 0) + 1 from artifacts where project = ? and key = ?",
            tuple(place.values()),
        )
        new = own | {"version": version}
        connection.execute(put_statement(ARTIFACTS, [name(c) for c in new]), list(new.values()))
    if links.get("run_id") is not None:
        link = (
            place
            | {"version": version, "role": "output", "step": 0, "time": own["created_at"]}
            | links
        )
        connection.execute(put_statement(LINEAGE, [name(c) for c in link]), list(link.values()))
    alias = place | {"version": version, "updated_at": own["created_at"]}
    for each in row["aliases"]:
        named = alias | {"alias": each}
        connection.execute(put_statement(ALIASES, [name(c) for c in named]), list(named.values()))


def _merge_statement() -> str:
    """Return the upsert that folds a partial summary into the stored one; see SUMMARIES for what null means."""
    later = "(excluded.last_step, excluded.last_time, excluded.last_seq) >= (last_step, last_time, last_seq)"
    newest = {
        c: f"iif({later}, excluded.{c}, {c})"
        for c in ("last", "last_step", "last_time", "last_seq")
    }
    sets = newest | {
        "min": "coalesce(min(min, excluded.min), min, excluded.min)",
        "max": "coalesce(max(max, excluded.max), max, excluded.max)",
        # a sum that is null over numbers is NaN and stays so; without numbers it is nothing
        "sum": "case when count = nan then excluded.sum when excluded.count = excluded.nan then sum "
        "else sum + excluded.sum end",
        "count": "count + excluded.count",
        "nan": "nan + excluded.nan",
        "first_step": "min(first_step, excluded.first_step)",
    }
    targets = ["rid", "kid", *(c for c in SUMMARIES.names if c not in SUMMARIES.key)]
    missing = set(targets[2:]) ^ set(sets)
    if missing:
        raise StoreError(f"no rule to merge {sorted(missing)}")
    holes = ", ".join("?" * len(targets))
    return (
        f"insert into summaries ({', '.join(targets)}) values ({holes}) on conflict (rid, kid) do update set "
        + ", ".join(f"{c} = {rule}" for c, rule in sets.items())
    )


_MERGE = _merge_statement()
