"""The tables: every column name, type and key of the platform, written once.

DDL, Delta schemas, sort orders, frames and API types derive from here. Types are named by short words so that the
tracking path can read this module without pyarrow; `Table.schema` builds the Arrow schema when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlrun.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = [
    "ALIASES",
    "API_KEYS",
    "ARTIFACTS",
    "AUDIT",
    "EXPIRATIONS",
    "FUNCTIONS",
    "FUNCTION_TAGS",
    "GUARDED",
    "LEASES",
    "LINEAGE",
    "LOGS",
    "METRICS",
    "PARAMS",
    "POLICIES",
    "PROJECTS",
    "PROJECT_SECRETS",
    "RESULTS",
    "ROLES",
    "ROLLUPS",
    "RUNS",
    "SCHEDULES",
    "SUMMARIES",
    "SYSTEM_METRICS",
    "TABLES",
    "TAGS",
    "USERS",
    "VIEWS",
    "Column",
    "Table",
    "conform",
]


@dataclass(frozen=True)
class Column:
    """One column: `type` is string, json, int64, float64, bool or timestamp (microseconds, UTC).

    `hidden` columns are stored and used by mlrun but are no part of the frames that users see.
    """

    name: str
    type: str
    nullable: bool = True
    hidden: bool = False


@dataclass(frozen=True)
class Table:
    """A stored table.

    Attributes:
        name: its name in SQL.
        columns: in storage order.
        key: columns that identify a row (records), or locate it (series).
        sort: columns by which files are sorted; never changed once written.
        partition: columns that split files into folders.
        kind: "record" (mutable, upserted by key) or "series" (append-only).
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    kind: str
    sort: tuple[str, ...] = ()
    partition: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema, hidden columns included."""
        import pyarrow as pa

        return pa.schema([pa.field(c.name, _arrow(c.type), c.nullable) for c in self.columns])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All column names, hidden ones included."""
        return tuple(c.name for c in self.columns)

    @cached_property
    def visible(self) -> tuple[str, ...]:
        """Names of the columns that users see."""
        return tuple(c.name for c in self.columns if not c.hidden)

    def column(self, name: str) -> Column:
        """Return the column of that name; KeyError if there is none."""
        for c in self.columns:
            if c.name == name:
                return c
        raise KeyError(name)


def _arrow(kind: str) -> pa.DataType:
    import pyarrow as pa

    return {
        "string": pa.string(),
        "json": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", "UTC"),
    }[kind]


def conform(data: Any, table: Table) -> pa.Table:
    """Cast anything with `__arrow_c_stream__` (or a pyarrow table) to the table's schema.

    Columns may come in any order; hidden and nullable ones may be left out and become null.

    Raises:
        SchemaMismatch: names unknown or missing columns, or the column that cannot be cast.
    """
    import pyarrow as pa

    arrow = data if isinstance(data, pa.Table) else pa.table(data)
    have = set(arrow.column_names)
    missing = {c.name for c in table.columns if not c.nullable and c.name not in have}
    unknown = have - set(table.names)
    if missing or unknown:
        raise SchemaMismatch.of(table.name, missing=missing, unknown=unknown)
    out = []
    for field in table.schema:
        if field.name not in have:
            out.append(pa.nulls(arrow.num_rows, field.type))
            continue
        column = arrow.column(field.name)
        try:
            column = column.cast(field.type) if column.type != field.type else column
        except pa.ArrowInvalid as error:
            raise SchemaMismatch.of(table.name, why=f"column {field.name!r}: {error}") from error
        if not field.nullable and column.null_count:
            raise SchemaMismatch.of(table.name, why=f"column {field.name!r} holds nulls")
        out.append(column)
    return pa.table(out, schema=table.schema)


def _c(spec: str) -> tuple[Column, ...]:
    """Parse `name type[!][-]` words: `!` is not null, `-` is hidden."""
    words = spec.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    return tuple(Column(n, t.rstrip("!-"), "!" not in t, "-" in t) for n, t in pairs)


# `spec` is the project's document, as project.yaml holds it; null for a project that only has runs.
PROJECTS = Table(
    "projects",
    _c(
        "name string! description string labels json created_at timestamp updated_at timestamp- spec json-"
    ),
    key=("name",),
    kind="record",
)
# `duration` and `tags` of the frame are computed: from the two times, and from TAGS.
RUNS = Table(
    "runs",
    _c(
        """run_id string! name string project string! state string kind string function string
        parent string iteration int64 group string user string host string started_at timestamp
        finished_at timestamp labels json notes string error string dropped int64
        writer string- provenance json- archived_at timestamp- deleted_at timestamp- updated_at timestamp-"""
    ),
    key=("run_id",),
    kind="record",
)
# `value` is JSON (with the literals NaN, Infinity, -Infinity); `num` and `text` are its decoded forms, for indexes.
_KEYED = "run_id string! key string! value json! type string! num float64- text string-"
PARAMS = Table("params", _c(_KEYED), key=("run_id", "key"), kind="record")
RESULTS = Table("results", _c(_KEYED), key=("run_id", "key"), kind="record")
# One row per (run, metric) over every row logged. `last` is null for NaN; min, max and sum leave NaN out and are null
# when nothing is left (sum also when it is NaN); `count` counts rows, `nan` the NaN ones; mean = sum / (count - nan).
SUMMARIES = Table(
    "summaries",
    _c(
        """run_id string! key string! last float64 min float64 max float64 sum float64 count int64!
        nan int64! first_step int64! last_step int64! last_time timestamp! last_seq int64!-"""
    ),
    key=("run_id", "key"),
    kind="record",
)
TAGS = Table("tags", _c("run_id string! tag string!"), key=("run_id", "tag"), kind="record")
# A version is a distinct content of (project, key); who made or used it, and when, is LINEAGE.
ARTIFACTS = Table(
    "artifacts",
    _c(
        """project string! key string! version int64! type string! size int64 sha256 string uri string!
        meta json created_at timestamp! deleted_at timestamp-"""
    ),
    key=("project", "key", "version"),
    kind="record",
)
LINEAGE = Table(
    "lineage",
    _c(
        "run_id string! project string! key string! version int64! role string! step int64! time timestamp!"
    ),
    key=("run_id", "project", "key", "version", "role", "step"),
    kind="record",
)
ALIASES = Table(
    "aliases",
    _c("project string! key string! alias string! version int64! updated_at timestamp-"),
    key=("project", "key", "alias"),
    kind="record",
)
# A version is a distinct content; `hash` is that of `spec`. Rows are never changed.
FUNCTIONS = Table(
    "functions",
    _c("project string! name string! hash string! spec json! created_at timestamp!"),
    key=("project", "name", "hash"),
    kind="record",
)
FUNCTION_TAGS = Table(
    "function_tags",
    _c("project string! name string! tag string! hash string! updated_at timestamp-"),
    key=("project", "name", "tag"),
    kind="record",
)
# What the scheduler starts by the clock. `target` says what is run and with which arguments; `place` names an executor
# that keeps the clock itself, empty for `mlrun scheduler`. `fired_at` is the minute that was last begun.
SCHEDULES = Table(
    "schedules",
    _c(
        """project string! name string! cron string! timezone string target json! place string enabled bool
        created_at timestamp fired_at timestamp last_run string last_state string updated_at timestamp-"""
    ),
    key=("project", "name"),
    kind="record",
)
# What people keep of the dashboard: `spec` is what the page of that `kind` shows again under `name`.
VIEWS = Table(
    "views",
    _c("project string! kind string! name string! spec json! user string updated_at timestamp-"),
    key=("project", "kind", "name"),
    kind="record",
)
# For how long a project keeps what, and how much it may write; null is what the gateway says for all.
POLICIES = Table(
    "policies",
    _c(
        """project string! raw_days int64 rollup_days int64 deleted_days int64 max_metric_keys int64
        points_per_second int64 updated_at timestamp-"""
    ),
    key=("project",),
    kind="record",
)
# Of which runs `what` (points, rollups) has gone, or is just going, because a policy says so.
EXPIRATIONS = Table(
    "expirations",
    _c("run_id string! what string! at timestamp!"),
    key=("run_id", "what"),
    kind="record",
)
# `key_id` tells by which key a `ciphertext` is read.
PROJECT_SECRETS = Table(
    "project_secrets",
    _c(
        "project string! name string! ciphertext string! key_id string! user string updated_at timestamp"
    ),
    key=("project", "name"),
    kind="record",
)
# What only one process may do at a time, and who does it until when.
LEASES = Table(
    "leases",
    _c("name string! holder string! place string taken_at timestamp! expires_at timestamp!"),
    key=("name",),
    kind="record",
)
# Who may call a gateway. Of a key, `hash` is the SHA-256 of the whole; `prefix` is the part that may be shown. A key is
# good for its user's roles, less what `scopes` (a list of actions) and `project` leave out; null leaves out nothing.
API_KEYS = Table(
    "api_keys",
    _c(
        """prefix string! hash string! user string! name string scopes json project string
        created_at timestamp! created_by string expires_at timestamp revoked_at timestamp"""
    ),
    key=("prefix",),
    kind="record",
)
USERS = Table(
    "users",
    _c(
        "name string! subject string created_at timestamp! updated_at timestamp disabled_at timestamp"
    ),
    key=("name",),
    kind="record",
)
# `role` is viewer, editor or admin; `project` is empty for the whole server.
ROLES = Table(
    "roles",
    _c("user string! project string! role string! updated_at timestamp"),
    key=("user", "project"),
    kind="record",
)
# Every change that came through a gateway. Rows are never changed.
AUDIT = Table(
    "audit",
    _c(
        """id string! time timestamp! actor string! action string! project string target string
        before json after json address string request_id string"""
    ),
    key=("id",),
    kind="record",
)
# what only a gateway itself may read and write, whoever asks
GUARDED = frozenset(
    {API_KEYS.name, USERS.name, ROLES.name, AUDIT.name, PROJECT_SECRETS.name, LEASES.name}
)

# `writer` and `seq` (the order of writing within a writer) break ties of time and make a row unique.
_POINTS = """project string! run_id string! key string! step int64! time timestamp! value float64!
    writer string!- seq int64!-"""
_SORT = ("project", "run_id", "key", "step")
METRICS = Table("metrics", _c(_POINTS), key=_SORT, kind="series", sort=(*_SORT, "time", "seq"))
SYSTEM_METRICS = Table(
    "system_metrics", _c(_POINTS), key=_SORT, kind="series", sort=(*_SORT, "time", "seq")
)
LOGS = Table(
    "logs",
    _c(
        """project string! run_id string! time timestamp! stream string! line string!
        writer string!- seq int64!-"""
    ),
    key=("project", "run_id", "time"),
    kind="series",
    sort=("project", "run_id", "time", "seq"),
)
# Blocks of consecutive rows (by step, time, seq) of one absorbed part of one series. Level k has blocks of
# 64 * 8**k rows, if the part has more rows than that; level -1 is one block of the whole part, always. `raw` marks a
# block in which a step comes twice or time falls from one row to the next: charts read its rows instead. A part of at
# most 64 rows has just its level -1, raw and without values. first_time and last_time are the least and greatest;
# min, max and sum leave NaN out and are null, like their places, when nothing is left; nan_step is the first NaN's.
ROLLUPS = Table(
    "metrics_rollups",
    _c(
        """project string! run_id string! key string! level int64! count int64! nan int64! raw bool!
        first_step int64! last_step int64! min_step int64 max_step int64 nan_step int64
        first_time timestamp! last_time timestamp! min_time timestamp max_time timestamp nan_time timestamp
        first float64 last float64 min float64 max float64 sum float64"""
    ),
    key=("project", "run_id", "key", "level", "first_step"),
    kind="series",
    sort=("project", "run_id", "key", "level", "first_step"),
)

TABLES: Mapping[str, Table] = {
    t.name: t
    for t in (
        PROJECTS, RUNS, PARAMS, RESULTS, SUMMARIES, TAGS, ARTIFACTS, LINEAGE, ALIASES,
        FUNCTIONS, FUNCTION_TAGS, SCHEDULES, VIEWS, POLICIES, EXPIRATIONS, PROJECT_SECRETS, LEASES, API_KEYS, USERS,
        ROLES, AUDIT, METRICS, SYSTEM_METRICS, LOGS, ROLLUPS,
    )
}  # fmt: skip
