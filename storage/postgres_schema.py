"""How the record tables lie in PostgreSQL, and how a database comes to its version.

As in SQLite, a run has an integer `rid` and a key of params, results, labels and metrics an integer `kid`; a row of
`runs` may be a mere holder of a rid (`present` is false), for values that came before their run. The long tables are
indexed by (kid, value, rid), so that a filter or an order reads one stretch of one index.

- Text is compared by its bytes everywhere (collation C), whatever the database's locale is.
- An entry of a B-tree holds at most 2.7 kB, but a name or key may be of any length: what must be unique is indexed by
  its SHA-256 (`digest`), what is compared by its first 200 characters (`HEAD`), see `postgres_where`.
- The JSON of a value is `jsonb`; what jsonb would not give back as it was (NaN, `1e400`, other blanks) is `raw`.
- NaN is null, as `mlrun.tables` says of summaries: PostgreSQL would take it for the greatest number.
- PostgreSQL fails where IEEE 754 has an infinity or a zero: `plus`, `times` and `over` do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.contracts import Mark
from mlrun.errors import StoreError, StoreVersionError
from mlrun.tables import (
    ALIASES,
    API_KEYS,
    ARTIFACTS,
    AUDIT,
    EXPIRATIONS,
    LEASES,
    LINEAGE,
    PARAMS,
    POLICIES,
    PROJECT_SECRETS,
    RESULTS,
    ROLES,
    RUNS,
    SUMMARIES,
    TAGS,
    USERS,
    VIEWS,
)

from .postgres_connect import SCHEMA
from .recordplan import LABELS, RECORDS
from .recordshape import BY_RID, KEY, KEYED, RUN_ID, VISIBLE, name, source as shared_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.tables import Column, Table

    from .postgres_connect import Connection

__all__ = [
    "HEAD",
    "INDEXED",
    "KEYED",
    "KINDS",
    "MIGRATIONS",
    "VALUED",
    "VERSION",
    "conflict",
    "create",
    "head",
    "indexes",
    "lock",
    "migrate",
    "name",
    "open_version",
    "source",
    "stored_version",
]

VERSION = 3
HEAD = 200  # characters of a text that an index holds
VALUED = (PARAMS, RESULTS, LABELS)  # tables whose rows hold a JSON value
_MOVED = "moved_at int8 not null default (extract(epoch from now()) * 1000000)::int8"
KINDS = {
    "string": "text", "json": "text", "float64": "float8", "int64": "int8", "timestamp": "int8", "bool": "bool",
}  # fmt: skip
INDEXED = ("state", "name", "parent", "group")  # run columns that have an index of their own
_FUNCTIONS = (
    # doubled backslashes make the cast take the bytes as they are
    r"""create function digest(text) returns bytea language sql immutable strict parallel safe
        return sha256(replace($1, '\', '\\')::bytea)""",
    """create function edge(op text, a float8, b float8) returns float8
        language plpgsql immutable strict as $$
        declare result float8;
        begin
            begin
                result := case op when '+' then a + b when '*' then a * b else a / b end;
            exception when numeric_value_out_of_range then
                result := case
                    when op = '+' then sign(a) * 'infinity'::float8
                    when abs(a) < 1 and op = '*' or abs(b) > 1 and op = '/' then 0
                    else sign(a) * sign(b) * 'infinity'::float8 end;
            end;
            return nullif(result, 'nan'::float8);
        end $$""",
    """create function plus(a float8, b float8) returns float8 language sql immutable return
        case when abs(a) < 1e307 and abs(b) < 1e307 then a + b else edge('+', a, b) end""",
    """create function times(a float8, b float8) returns float8 language sql immutable return
        case when abs(a) between 1e-150 and 1e150 and abs(b) between 1e-150 and 1e150
        then a * b else edge('*', a, b) end""",
    """create function over(a float8, b float8) returns float8 language sql immutable return
        case when abs(a) between 1e-150 and 1e150 and abs(b) between 1e-150 and 1e150
        then a / b else edge('/', a, nullif(b, 0)) end""",
)


def head(expression: str) -> str:
    """Return what indexes hold of a text; its collation is the column's."""
    return f"left({expression}, {HEAD})"


def _declare(column: Column, *, required: bool) -> str:
    kind = KINDS[column.type] + (' collate "C"' if KINDS[column.type] == "text" else "")
    return f"{name(column.name)} {kind}{' not null' if required else ''}"


def _tables() -> list[str]:
    """Return the statements that make the tables."""
    text = 'text collate "C" not null'
    made = [
        f"create table keys (kid int generated always as identity primary key, {name(KEY)} {text})",
        f"create unique index keys_key on keys (digest({name(KEY)}))",
    ]
    columns = [_declare(c, required=c.name == RUN_ID) for c in RUNS.columns]
    made.append(
        "create table runs (rid int generated always as identity primary key, "
        f"present bool not null default false, {', '.join(columns)})"
    )
    made.append(f"create unique index runs_key on runs ({conflict(RUNS)})")
    for table in (*BY_RID, LABELS):
        made += _by_rid(table)
    for table in RECORDS.values():
        if table is not RUNS and table not in BY_RID:
            made += _plain(table)
    numbers = ", ".join(f"{name(f)} int8 not null" for f in Mark._fields)
    made.append(f'create table marks (writer text collate "C" primary key, {numbers}, {_MOVED})')
    made.append(
        "create table version (number int not null, since timestamptz not null default now())"
    )
    return made


def _plain(table: Table) -> list[str]:
    """Return the statements that make a table as it is."""
    declared = ", ".join(_declare(c, required=not c.nullable) for c in table.columns)
    return [
        f"create table {table.name} ({declared})",
        f"create unique index {table.name}_key on {table.name} ({conflict(table)}) nulls not distinct",
    ]


def _by_rid(table: Table) -> list[str]:
    short = {RUN_ID: "rid int not null"}
    if table is not TAGS:
        short[KEY] = "kid int not null"
    if table in VALUED:
        short["value"] = 'value jsonb, raw text collate "C", check (num_nonnulls(value, raw) > 0)'
    columns = [short.get(c.name) or _declare(c, required=not c.nullable) for c in table.columns]
    return [
        f"create table {table.name} ({', '.join(columns)})",
        f"create unique index {table.name}_key on {table.name} ({conflict(table)})",
    ]


def conflict(table: Table) -> str:
    """Return the expressions that are unique in a table: its key, where a missing part is like any other value."""
    if table in (*KEYED, LABELS):
        return "rid, kid"
    if table is TAGS:
        return "rid, digest(tag)"
    return ", ".join(
        f"digest({name(k)})" if KINDS[table.column(k).type] == "text" else name(k)
        for k in table.key
    )


def indexes(table: Table) -> dict[str, str]:
    """Return the indexes of a table beyond its key: name -> what stands behind `on`."""
    made: dict[str, str] = {}
    if table in VALUED:
        made[f"{table.name}_num"] = f"{table.name} (kid, num, rid) where num is not null"
        made[f"{table.name}_text"] = f"{table.name} (kid, ({head('text')})) where text is not null"
    elif table is SUMMARIES:
        made["summaries_last"] = "summaries (kid, last, rid) where last is not null"
    elif table is TAGS:
        made["tags_tag"] = "tags (digest(tag), rid)"
    elif table is RUNS:
        made["runs_id"] = f"runs (({head(RUN_ID)}))"
        made["runs_newest"] = f"runs (started_at) where {VISIBLE}"
        made["runs_project"] = f"runs (({head('project')}), started_at) where {VISIBLE}"
        made["runs_started"] = "runs (started_at)"
        for column in INDEXED:
            made[f"runs_{column}"] = (
                f"runs (({head(name(column))})) where {name(column)} is not null"
            )
    elif table is ARTIFACTS:
        made["artifacts_content"] = "artifacts (digest(project), digest(key), digest(sha256))"
    elif table is AUDIT:
        made["audit_time"] = "audit (time)"
    elif table in (LINEAGE, ALIASES):
        made[f"{table.name}_version"] = f"{table.name} (digest(project), digest(key), version)"
    return made


def source(table: Table) -> tuple[dict[str, str], str]:
    """Return how a logical table is read: expression of every column, and what stands behind `from`."""
    expressions, behind = shared_source(table)
    if table in VALUED:
        expressions["value"] = "coalesce(t.raw, t.value::text)"
    return expressions, behind


def lock(connection: Connection) -> None:
    """Let one transaction write at a time, until it ends: absorbers are few and short, and never deadlock."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended($1::text, 0))", [SCHEMA])


def open_version(connection: Connection) -> None:
    """Check that this version reads the database.

    Raises:
        StoreError: it is not made yet. StoreVersionError: it is of another version.
    """
    version = _version(connection)
    if version > VERSION:
        raise StoreVersionError(
            f"{connection.shown} has version {version}, this mlrun reads up to {VERSION}: pip install -U mlrun-arrow"
        )
    if version < VERSION:
        raise StoreVersionError(
            f"{connection.shown} has version {version}, not {VERSION}: `mlrun server migrate` brings it there"
        )


def _version(connection: Connection) -> int:
    [(number,)] = connection.rows("select max(number) from version")
    return int(number)


def stored_version(connection: Connection) -> int:
    """Return the version of the database, 0 if there are no tables of ours."""
    [(is_ours,)] = connection.rows(f"select to_regclass('{SCHEMA}.version') is not null")
    return _version(connection) if is_ours else 0


def migrate(connection: Connection) -> None:
    """Bring older tables to this version, in the transaction that has begun; safe in a race.

    Data definition is transactional here, so that a migration is done whole or not at all.
    """
    lock(connection)
    for number in range(version := _version(connection), VERSION):
        MIGRATIONS[number](connection)
    if version < VERSION:
        connection.execute("insert into version (number) values ($1::int)", [VERSION])
    open_version(connection)


def create(connection: Connection) -> None:
    """Make the tables if they are not there, in the transaction that has begun; safe in a race.

    Raises:
        StoreVersionError: they are of another version. Older ones are migrated by whoever has a backup, never because
            somebody opened them: others may be at work there.
    """
    lock(connection)
    found: Any = connection.rows(
        "select to_regnamespace($1::text) is not null, to_regclass($1::text || '.version') is not null, "
        "current_setting('server_encoding'), current_setting('server_version_num')::int8",
        [SCHEMA],
    )
    [(has_schema, is_ours, encoding, server)] = found
    if encoding != "UTF8" or server < 160_000:
        raise StoreError(
            f"{connection.shown}: PostgreSQL 16 or newer and a database in UTF8 are needed, "
            f"not {server // 10_000} in {encoding}"
        )
    if is_ours:
        open_version(connection)
        return
    if not has_schema:
        connection.execute(f"create schema {SCHEMA}")
    elif connection.rows(
        "select 1 from pg_class where relnamespace = to_regnamespace($1::text) limit 1", [SCHEMA]
    ):
        raise StoreError(f"{connection.shown}: the schema {SCHEMA!r} holds something else")
    _make(connection)


def _make(connection: Connection) -> None:
    for statement in (*_FUNCTIONS, *_tables()):
        connection.execute(statement)
    for table in (*RECORDS.values(), LABELS):
        for index, where in indexes(table).items():
            connection.execute(f"create index {index} on {where}")
    # the planner takes no statistics of a text's head from a partial index
    for column in ("project", *INDEXED):
        connection.execute(
            f"create statistics runs_{column}_head on ({head(name(column))}) from runs"
        )
    for table in VALUED:  # how frequent a value is, depends on its key
        connection.execute(
            f"create statistics {table.name}_of_key (mcv) on kid, num, ({head('text')}) from {table.name}"
        )
    connection.execute("insert into version (number) values ($1::int)", [VERSION])


def _from_1(connection: Connection) -> None:
    """Add the keys, users and roles of a gateway, and its audit log."""
    for table in (API_KEYS, USERS, ROLES, AUDIT):
        for statement in _plain(table):
            connection.execute(statement)
        for index, where in indexes(table).items():
            connection.execute(f"create index {index} on {where}")


def _from_2(connection: Connection) -> None:
    """Add saved views, policies, secrets and leases, and when a mark was moved: for those that are there, just now."""
    for table in (VIEWS, POLICIES, EXPIRATIONS, PROJECT_SECRETS, LEASES):
        for statement in _plain(table):
            connection.execute(statement)
    connection.execute(f"alter table marks add column {_MOVED}")


# from version -> what brings a database to the next one, in the transaction of `migrate`
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {1: _from_1, 2: _from_2}
