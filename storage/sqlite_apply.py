"""Planned ops, folded summaries and marks, written inside a transaction."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mlrun.contracts import Mark
from mlrun.errors import SchemaMismatch, StoreError
from mlrun.ids import now_us
from mlrun.tables import ALIASES, ARTIFACTS, LINEAGE, RUNS, SUMMARIES, TAGS

from .recordplan import decoded
from .recordshape import KEY, KEYED, RUN_ID, changes, name, source
from .recordwrite import StepWriter, compare_marks, read_marks, texts_to_number, write_steps
from .sqlite_memory import remembered
from .sqlite_schema import conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrun.tables import Table

    from .recordplan import Row, Step
    from .sqlite_connect import Connection

__all__ = [
    "apply",
    "look_up",
    "lookup_numbers",
    "numbers_of",
    "put_statement",
    "read_marks",
    "top_of",
]


def apply(
    connection: Connection,
    steps: Sequence[Step],
    summaries: Sequence[Sequence[Any]],
    expected: Mapping[str, Mark] | None,
    marks: Mapping[str, Mark] | None,
) -> None:
    """Do planned steps inside a transaction that has begun."""
    if expected:
        compare_marks(connection, expected)
    runs, keys = texts_to_number(steps, summaries)
    rids = numbers_of(connection, RUNS.name, "rid", RUN_ID, runs)
    kids = numbers_of(connection, "keys", "kid", KEY, keys)
    writer = StepWriter(
        partial(look_up, connection),
        partial(_put, connection, rids, kids),
        partial(put_labels, connection),
        partial(_delete, connection),
        partial(_register, connection),
    )
    write_steps(steps, writer)
    if summaries:
        rows = [(rids[r[0]], kids[r[1]], *r[2:]) for r in summaries]
        connection.executemany(_MERGE, rows)
    if marks:
        holes, stamp = ", ".join("?" * (2 + len(Mark._fields))), now_us()
        connection.executemany(
            f"insert or replace into marks values ({holes})",
            [(w, *m, stamp) for w, m in marks.items() if m != Mark()],
        )
        gone = [(w,) for w, m in marks.items() if m == Mark()]
        connection.executemany("delete from marks where writer = ?", gone)


def look_up(connection: Connection, table: Table, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that match every column of `key`, as plain dicts, in key order."""
    expressions, behind = source(table)
    terms = " and ".join([behind, *(f"{expressions[c]} is ?" for c in key)])
    chosen = ", ".join(f"{expressions[c]} as {name(c)}" for c in table.names)
    order = ", ".join(expressions[k] for k in table.key)
    rows = connection.rows(f"select {chosen} from {terms} order by {order}", list(key.values()))
    return [dict(zip(table.names, row, strict=True)) for row in rows]


def top_of(connection: Connection) -> int:
    """Return the highest number of a run: about how many there are."""

    def find() -> int:
        [(top,)] = connection.rows("select ifnull(max(rid), 0) from runs")
        return int(top)

    return remembered(connection, "top", find)


def numbers_of(
    connection: Connection, table: str, number: str, column: str, texts: Iterable[str]
) -> dict[str, int]:
    """Return the number of every text, making those that are new."""
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
    return dict(
        connection.each(f"select {column}, {number} from {table} where {column} = ?", texts)
    )


def _put(
    connection: Connection,
    rids: Mapping[str, int],
    kids: Mapping[str, int],
    table: Table,
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
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
    rids = numbers_of(connection, RUNS.name, "rid", RUN_ID, labels)
    kids = numbers_of(connection, "keys", "kid", KEY, {k for some in labels.values() for k in some})
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
    sets = changes(table, [c.strip('"') for c in targets if c not in keys])
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
        if table in (*KEYED, TAGS) and column == RUN_ID:
            term = "rid = (select rid from runs where run_id = ?)"
        elif table in KEYED and column == KEY:
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
