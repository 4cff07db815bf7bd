"""Planned ops, folded summaries and marks, written inside a transaction.

Rows that are alike go as one statement of arrays (`unnest`): a thousand rows cost about what one costs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mlrun.contracts import Mark
from mlrun.errors import SchemaMismatch
from mlrun.ids import now_us
from mlrun.tables import ALIASES, ARTIFACTS, LINEAGE, RUNS, TAGS

from .postgres_arrays import columns_of, listed, unnest
from .postgres_fold import MERGE, SUMMARY_KINDS, folded
from .postgres_lookup import lookup
from .postgres_schema import KINDS, VALUED, conflict
from .recordplan import LABELS, decoded
from .recordshape import KEY, KEYED, RUN_ID, changes, name
from .recordwrite import StepWriter, compare_marks, read_marks, texts_to_number, write_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrun.tables import Table

    from .postgres_connect import Connection
    from .recordplan import Row, Step

__all__ = [
    "VALUE_DOC",
    "VALUE_FORMS",
    "apply",
    "lookup_numbers",
    "numbers_of",
    "put_statement",
    "read_marks",
]

_LATEST = 1 << 61  # of a time, in microseconds: differences of two must fit 64 bits
# jsonb where it gives the text back as it was, else the text too
VALUE_DOC = "case when pg_input_is_valid(u.value, 'jsonb') then u.value::jsonb end as doc offset 0"
VALUE_FORMS = {
    "value": "d.doc",
    "raw": "case when d.doc::text is distinct from u.value then u.value end",
}


def apply(
    connection: Connection,
    steps: Sequence[Step],
    summaries: Sequence[Sequence[Any]],
    expected: Mapping[str, Mark] | None,
    marks: Mapping[str, Mark] | None,
) -> None:
    """Do planned steps inside a transaction that has begun, and in which nobody else writes."""
    if expected:
        compare_marks(connection, expected)
    runs, keys = texts_to_number(steps, summaries)
    rids = numbers_of(connection, "runs", runs)
    kids = numbers_of(connection, "keys", keys)
    writer = StepWriter(
        partial(lookup, connection),
        partial(_put, connection, rids, kids),
        partial(_put_labels, connection),
        partial(_delete, connection),
        partial(_register, connection),
    )
    write_steps(steps, writer)
    if summaries:
        rows = [(rids[r[0]], kids[r[1]], *r[2:]) for r in folded(summaries)]
        connection.execute(MERGE, columns_of(rows, SUMMARY_KINDS))
    if marks:
        rows = [(w, *m) for w, m in marks.items() if m != Mark()]
        if rows:
            connection.execute(_SET_MARKS, columns_of(rows, _MARK_KINDS))
        for gone in (w for w, m in marks.items() if m == Mark()):
            connection.execute("delete from marks where writer = $1", [gone])


def lookup_numbers(connection: Connection, table: str, texts: Iterable[str]) -> dict[str, int]:
    """Return the rid of every run, or the kid of every key, that has one."""
    number, column = _NUMBERED[table]
    asked = [t for t in texts if "\0" not in t]
    if not asked:
        return {}
    found = connection.rows(
        f"select {column}, {number} from {table} "
        f"where digest({column}) in (select digest(x) from unnest($1::text[]) x)",
        [listed(asked, "text")],
    )
    return dict(found)


def numbers_of(connection: Connection, table: str, texts: Iterable[str]) -> dict[str, int]:
    """Return the number of every text, making those that are new in the order of the texts."""
    wanted = sorted(texts)
    found = lookup_numbers(connection, table, wanted)
    if missing := [t for t in wanted if t not in found]:
        number, column = _NUMBERED[table]
        made = connection.rows(
            f"insert into {table} ({column}) select x from unnest($1::text[]) with ordinality u(x, n) order by n "
            f"returning {column}, {number}",
            [listed(missing, "text")],
        )
        found.update(dict(made))
    return found


def put_statement(table: Table, columns: Sequence[str], rows: str) -> str:
    """Return the upsert of `columns`, as they lie in the database, from the query `rows`."""
    keys = {"rid", "kid", *table.key}
    sets = changes(table, [c for c in columns if c not in keys])
    return (
        f"insert into {table.name} ({', '.join(map(name, columns))}) {rows} "
        f"on conflict ({conflict(table)}) do " + (f"update set {sets}" if sets else "nothing")
    )


_NUMBERED = {"runs": ("rid", RUN_ID), "keys": ("kid", name(KEY))}
_MARK_KINDS = ("text", *("int8" for _ in Mark._fields))


def _put(
    connection: Connection,
    rids: Mapping[str, int],
    kids: Mapping[str, int],
    table: Table,
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
) -> None:
    lacking = [c.name for c in table.columns if not c.nullable and c.name not in columns]
    kinds = [KINDS[table.column(c).type] for c in columns]
    _check_times(table, columns, rows)
    given = list(columns)
    if table in KEYED:
        given[:2], kinds[:2] = ["rid", "kid"], ["int8", "int8"]
        rows = [(rids[r[0]], kids[r[1]], *r[2:]) for r in rows]
    elif table is TAGS:
        given[:1], kinds[:1] = ["rid"], ["int8"]
        rows = [(rids[r[0]], *r[1:]) for r in rows]
    # a change of a run may come before the run, from another process: it waits, unseen, for the rest
    if lacking and table is not RUNS:
        _update(connection, table, given, kinds, rows, lacking)
        return
    arrays = columns_of([[bool(v) if k == "bool" and v is not None else v for v, k in zip(r, kinds, strict=True)]
                       for r in rows] if "bool" in kinds else rows, kinds)  # fmt: skip
    connection.execute(_put_rows(table, given, kinds, whole=not lacking), arrays)


def _put_rows(table: Table, given: Sequence[str], kinds: Sequence[str], *, whole: bool) -> str:
    """Return the upsert of rows that come as arrays."""
    targets = list(given)
    chosen = {c: f"u.{name(c)}" for c in given}
    behind = unnest(given, kinds)
    if table in VALUED and "value" in given:
        targets.append("raw")
        chosen |= VALUE_FORMS
        behind += f" cross join lateral (select {VALUE_DOC}) d"
    if table is RUNS and whole:
        targets.append("present")
        chosen["present"] = "true"
    return put_statement(
        table, targets, f"select {', '.join(chosen[c] for c in targets)} from {behind}"
    )


def _check_times(table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for at, column in enumerate(columns):
        if table.column(column).type == "timestamp" and any(
            abs(r[at]) > _LATEST for r in rows if r[at] is not None
        ):
            raise SchemaMismatch.of(table.name, why=f"column {column!r} holds no time that can be")


def _put_labels(connection: Connection, labels: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the labels of runs, given as JSON by key."""
    rids = numbers_of(connection, "runs", labels)
    kids = numbers_of(
        connection, "keys", {k for some in labels.values() for k in some if "\0" not in k}
    )
    connection.execute(
        "delete from labels where rid = any($1::int8[])", [listed(list(rids.values()), "int8")]
    )
    rows = []
    for run_id, some in labels.items():
        for key, value in some.items():
            forms = decoded(value)
            text = forms["text"]
            # no text of this database holds NUL: such a label is seen, but not found
            if key in kids and "\0" not in (text or ""):
                rows.append((rids[run_id], kids[key], value, "", forms["num"], text))
    if rows:
        given, kinds = (
            ["rid", "kid", "value", "type", "num", "text"],
            ["int8", "int8", "text", "text", "float8", "text"],
        )
        connection.execute(_put_rows(LABELS, given, kinds, whole=True), columns_of(rows, kinds))


def _update(
    connection: Connection,
    table: Table,
    given: Sequence[str],
    kinds: Sequence[str],
    rows: list[tuple[Any, ...]],
    lacking: list[str],
) -> None:
    """Put rows that do not have all columns that a new row needs: the rows must be there."""
    keys = [c for c in given if c in ("rid", "kid", *table.key)]
    rest = [c for c in given if c not in keys]
    if not rest:
        raise SchemaMismatch.of(table.name, missing=lacking)
    if table in VALUED and "value" in rest:
        raise SchemaMismatch.of(table.name, missing=lacking)
    sets = ", ".join(f"{name(c)} = u.{name(c)}" for c in rest)
    same = " and ".join(f"t.{name(c)} is not distinct from u.{name(c)}" for c in keys)
    changed = connection.execute(
        f"update {table.name} t set {sets} from {unnest(given, kinds)} where {same}",
        columns_of(rows, kinds),
    )
    if changed != len(rows):
        raise SchemaMismatch.of(table.name, missing=lacking, why="a new row")


def _delete(connection: Connection, table: Table, key: Row) -> None:
    terms, values = [], []
    for column, value in key.items():
        kind = KINDS[table.column(column).type]
        values.append(bool(value) if kind == "bool" and value is not None else value)
        hole = f"${len(values)}::{kind}"
        if table in (*KEYED, TAGS) and column == RUN_ID:
            terms.append(f"rid = (select rid from runs where digest(run_id) = digest({hole}))")
        elif table in KEYED and column == KEY:
            terms.append(f"kid = (select kid from keys where digest(key) = digest({hole}))")
        elif table in VALUED and column == "value":
            terms.append(f"coalesce(raw, value::text) is not distinct from {hole}")
        else:
            terms.append(f"{name(column)} is not distinct from {hole}")
    where = " and ".join(terms)
    if table is RUNS:  # the rid stays: values of the run may point to it
        nulls = ", ".join(f"{name(c)} = null" for c in RUNS.names if c not in RUNS.key)
        connection.execute(
            f"delete from labels where rid in (select rid from runs where {where})", values
        )
        connection.execute(f"update runs set present = false, {nulls} where {where}", values)
    else:
        connection.execute(f"delete from {table.name} where {where}", values)


def _put_one(connection: Connection, table: Table, row: Row) -> None:
    columns = [c for c in table.names if c in row]
    kinds = [KINDS[table.column(c).type] for c in columns]
    rows = [tuple(row[c] for c in columns)]
    connection.execute(_put_rows(table, columns, kinds, whole=True), columns_of(rows, kinds))


def _register(connection: Connection, row: Row) -> None:
    """Give content its version, and put what points to it."""
    own, links = row["own"], row["links"]
    place = {c: own[c] for c in ("project", "key")}
    own.setdefault("created_at", now_us())
    here = "digest(project) = digest($1::text) and digest(key) = digest($2::text)"
    # what has no hash is the same content when it lies at the same place
    found = connection.rows(
        f"select version from artifacts where {here} and digest(sha256) is not distinct from digest($3::text) "
        "and type = $4::text and (sha256 is not null or uri = $5::text) order by version limit 1",
        (own["project"], own["key"], own.get("sha256"), own["type"], own["uri"]),
    )
    if found:
        [(version,)] = found
        connection.execute(
            f"update artifacts set deleted_at = null, uri = $3::text "
            f"where {here} and version = $4::int8 and deleted_at is not null",
            (*place.values(), own["uri"], version),
        )
    else:
        [(version,)] = connection.rows(
            f"select coalesce(max(version), 0) + 1 from artifacts where {here}",
            tuple(place.values()),
        )
        _put_one(connection, ARTIFACTS, own | {"version": version})
    if links.get("run_id") is not None:
        link = (
            place
            | {"version": version, "role": "output", "step": 0, "time": own["created_at"]}
            | links
        )
        _put_one(connection, LINEAGE, link)
    alias = place | {"version": version, "updated_at": own["created_at"]}
    for each in row["aliases"]:
        _put_one(connection, ALIASES, alias | {"alias": each})


_SET_MARKS = (
    f"insert into marks ({', '.join(map(name, ('writer', *Mark._fields)))}) "
    f"select * from {unnest(('writer', *Mark._fields), _MARK_KINDS)} on conflict (writer) do update set "
    + ", ".join(f"{name(f)} = excluded.{name(f)}" for f in (*Mark._fields, "moved_at"))
)
