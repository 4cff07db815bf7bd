"""Questions about runs: every answer is a Polars frame, live and finished runs alike.

The journal is read first, then one snapshot of the records store: runs that the journal touches are answered from the
overlay (`mlrun.lookup.overlay`), all others by the store itself, and the two are merged in the order asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.asking import asked, visible_ids
from mlrun.content.naming import artifact_uri
from mlrun.contracts import OrderKey, RunQuery
from mlrun.errors import NotFound, QueryError, did_you_mean
from mlrun.ids import now_us
from mlrun.journal.snapshot import read_journal
from mlrun.lookup.sight import PARTS, as_frame, snapshot
from mlrun.lookup.widen import widen
from mlrun.names import clean_text
from mlrun.tables import (
    ALIASES,
    ARTIFACTS,
    LINEAGE,
    LOGS,
    PARAMS,
    PROJECTS,
    RESULTS,
    RUNS,
    SUMMARIES,
    TAGS,
    Table,
)  # fmt: skip
from mlrun.where import parse, parse_columns, parse_order
from mlrun.where.ast import Name, names_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrun.lookup.sight import Snapshot
    from mlrun.store import Store

__all__ = [
    "artifacts",
    "artifacts_made",
    "logs",
    "params",
    "projects",
    "resolve_run",
    "run_ids_of",
    "runs",
    "runs_frame",
]

_LONG = (TAGS, PARAMS, RESULTS, SUMMARIES)


@asked("runs")
def runs(
    store: Store,
    project: str | None = None,
    where: str | None = None,
    order_by: str | Sequence[str] | None = "-started_at",
    limit: int | None = None,
    offset: int = 0,
    columns: Sequence[str] | None = None,
    children: bool = False,
    archived: bool = False,
    deleted: bool = False,
) -> pl.DataFrame:
    """Return one row per run; the arguments are those of `mlrun.runs`."""
    query = run_query(project, where, order_by, limit, offset, children, archived, deleted)
    wanted = _wanted(columns)
    with snapshot(store) as sight:
        everything = query.where is None and query.limit is None and not query.offset
        ids = sight.find(query)
        if wanted is not None and [n.column for n in wanted] == ["run_id"]:
            return pl.DataFrame({"run_id": pl.Series(ids, dtype=pl.String)})
        read = None if everything and query.children and not project else ids
        tables = _tables(sight, read, wanted)
    return widen(ids, tables, wanted)


def runs_frame(
    sight: Snapshot, run_ids: list[str], columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return the frame of `runs` of runs that are known, in their order."""
    wanted = _wanted(columns)
    return widen(run_ids, _tables(sight, run_ids, wanted), wanted)


def _wanted(columns: Sequence[str] | None) -> tuple[Name, ...] | None:
    return None if columns is None else tuple(dict.fromkeys(parse_columns(columns)))


def _tables(
    sight: Snapshot, run_ids: list[str] | None, wanted: tuple[Name, ...] | None
) -> dict[str, pl.DataFrame]:
    return {t.name: sight.rows(t, run_ids, _columns(t, wanted)) for t in (RUNS, *_needed(wanted))}


def run_query(
    project: str | None,
    where: str | None,
    order_by: str | Sequence[str] | None,
    limit: int | None,
    offset: int,
    children: bool,
    archived: bool,
    deleted: bool,
) -> RunQuery:
    """Parse the words of a question; a `where` that names `parent` asks for children too."""
    if project is not None and not isinstance(project, str):
        raise QueryError(f"project is text or None, not {type(project).__name__}")
    project = _as_stored(project)
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 0
        ):
            raise QueryError(f"{name} must be a whole number of 0 or more, not {value!r}")
    expr = parse(where) if where else None
    keys: tuple[OrderKey, ...] = parse_order(order_by) if order_by else ()
    return RunQuery(
        project=project,
        where=expr,
        order_by=keys,
        limit=limit,
        offset=offset,
        children=children
        or (expr is not None and any(n.column == "parent" for n in names_in(expr))),
        archived=archived,
        deleted=deleted,
        now_us=now_us(),
    )


def _as_stored(name: str | None) -> str | None:
    """Return a project's name as `init` has stored it: long text and NUL are cut there, and must be here."""
    return None if name is None else clean_text(name)[0]


def _needed(wanted: Iterable[Name] | None) -> tuple[Table, ...]:
    if wanted is None:
        return _LONG
    scopes = {n.scope for n in wanted}
    tables = [
        t
        for t, s in ((PARAMS, "params"), (RESULTS, "results"), (SUMMARIES, "metrics"))
        if s in scopes
    ]
    if any(n.scope == "run" and n.key == "tags" for n in wanted):
        tables.append(TAGS)
    return tuple(tables)


def _columns(table: Table, wanted: Iterable[Name] | None) -> list[str] | None:
    """The columns of a table that the wide frame is made of: summaries are many, and mostly only `last` is shown."""
    if table is RUNS:
        return list(RUNS.visible) if wanted is None else _own(wanted)
    if table is not SUMMARIES:
        return None
    kinds = {"last"} if wanted is None else {n.aggregate for n in wanted if n.scope == "metrics"}
    parts = {"mean": ("sum", "count", "nan")}
    read = {c for kind in kinds for c in parts.get(kind, (kind,))}
    return ["run_id", "key", *(c for c in SUMMARIES.names if c in read)]


def _own(wanted: Iterable[Name]) -> list[str]:
    """The columns of RUNS that the wanted ones are made of."""
    read = {part for n in wanted if n.scope == "run" for part in PARTS.get(n.key, (n.key,))}
    read |= {n.scope for n in wanted if n.scope == "labels"} | {"run_id"}
    return [c for c in RUNS.visible if c in read]


def run_ids_of(given: Any) -> list[str]:
    """Return run ids of what callers pass: an id, a view, a frame with `run_id`, or a list of these."""
    if isinstance(given, str):
        return [clean_text(given)[0]]
    if isinstance(given, pl.DataFrame):
        return given["run_id"].to_list()
    if isinstance(given, pl.Series):
        return given.to_list()
    if hasattr(given, "id"):
        return [str(given.id)]
    try:
        return [run_id for item in given for run_id in run_ids_of(item)]
    except TypeError:
        raise QueryError(
            f"run ids must be text, a run or a list of these, not {type(given).__name__}"
        ) from None


@asked("params", run_ids=run_ids_of)
def params(store: Store, run_ids: Any) -> pl.DataFrame:
    """Return `run_id, key, value (JSON), type`, one row per parameter, ordered by run and key."""
    with snapshot(store) as sight:
        found = sight.rows(PARAMS, run_ids_of(run_ids))
    return found.select(PARAMS.visible).sort("run_id", "key")


@asked("projects")
def projects(store: Store) -> pl.DataFrame:
    """Return one row per project: its record, how many runs it has and when the last one started."""
    with snapshot(store) as sight:
        named = sight.shared(PROJECTS)
        read = ["run_id", "project", "state", "started_at", "deleted_at"]
        found = sight.rows(RUNS, None, read).filter(pl.col("deleted_at").is_null())
    active = found.group_by(pl.col("project").alias("name")).agg(
        pl.len().cast(pl.Int64).alias("runs"),
        pl.col("state").eq("running").sum().cast(pl.Int64).alias("running"),
        pl.col("started_at").max().alias("last_started_at"),
        pl.col("started_at").min().alias("first"),
    )
    joined = named.select(PROJECTS.visible).join(active, on="name", how="full", coalesce=True)
    return (
        joined.with_columns(
            pl.col("runs", "running").fill_null(0),
            pl.coalesce("created_at", "first").alias("created_at"),
        )
        .drop("first")
        .sort("name")
    )


@asked("logs", run_id=run_ids_of)
def logs(
    store: Store, run_id: Any, start: datetime | None = None, tail: int | None = None
) -> pl.DataFrame:
    """Return console lines of a run (or several): `run_id, time, stream, line`; arguments as of `mlrun.logs`."""
    from mlrun.contracts import PointFilter

    if tail is not None and (isinstance(tail, bool) or not isinstance(tail, int) or tail < 0):
        raise QueryError(f"tail must be a whole number of 0 or more, not {tail!r}")
    after = None if start is None else _microseconds(start)
    ids = visible_ids(store, run_ids_of(run_id))
    look = getattr(store, "look", None)
    journal = look.journal if look else read_journal(store.journal)
    view = store.series.snapshot(LOGS)
    where = PointFilter(run_ids=tuple(ids), times=(after, None))
    stored = as_frame(view.scan(where).read_all())
    fresh = as_frame(journal.text(after=view.marks(), run_ids=ids))
    if after is not None:
        fresh = fresh.filter(pl.col("time").dt.timestamp("us") >= after)
    lines = pl.concat([stored, fresh.select(stored.columns).cast(stored.schema)])
    lines = lines.sort("run_id", "time", "writer", "seq", maintain_order=True).select(
        "run_id", "time", "stream", "line"
    )
    return lines if tail is None else lines.tail(tail)


def _microseconds(moment: Any) -> int:
    """Return a time as microseconds since 1970; one without a zone is UTC."""
    if not isinstance(moment, datetime):
        raise QueryError(f"start must be a datetime, not {type(moment).__name__}")
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _project_or_runs(of: Any) -> Any:
    return of if of is None or isinstance(of, str) else run_ids_of(of)


@asked("artifacts", of=_project_or_runs)
def artifacts(store: Store, of: Any = None) -> pl.DataFrame:
    """Return the artifacts that runs made, of a project, a run (id or view) or everything; newest last.

    One row per run, artifact version and step at which it was logged; `aliases` includes `latest`, and `uri` is what
    `get_artifact` takes.
    """
    of = _as_stored(of) if isinstance(of, str) else of
    with snapshot(store) as sight:
        by_run = not isinstance(of, str) or sight.rows(RUNS, [of]).height > 0
        made = artifacts_made(sight)
    if of is not None:
        mine = pl.col("run_id").is_in(run_ids_of(of)) if by_run else pl.col("project") == of
        made = made.filter(mine)
    return made.drop("meta")


def artifacts_made(sight: Snapshot) -> pl.DataFrame:
    """Return the rows of `artifacts`, of all runs, and `meta` (JSON) behind them."""
    made = sight.shared(LINEAGE).filter(pl.col("role") == "output")
    kept = sight.shared(ARTIFACTS).filter(pl.col("deleted_at").is_null())
    on = ["project", "key", "version"]
    latest = kept.group_by("project", "key").agg(pl.col("version").max())
    named = [
        sight.shared(ALIASES).select(*on, "alias"),
        latest.select(*on, pl.lit("latest").alias("alias")),
    ]
    aliases = pl.concat(named).group_by(on).agg(pl.col("alias").sort().alias("aliases"))
    joined = (
        made.join(kept, on=on)
        .join(aliases, on=on, how="left")
        .sort("time", "key", "step", "version")
    )
    uris = [artifact_uri(*name) for name in joined.select(on).iter_rows()]
    none = pl.lit([], dtype=pl.List(pl.String))
    return joined.select(
        "run_id", "project", "key", "type", "version", pl.col("aliases").fill_null(none), "size",
        "sha256", pl.Series("uri", uris, dtype=pl.String), "created_at", "meta",
    )  # fmt: skip


def _run_name(run_id: Any) -> str:
    if not isinstance(run_id, str):
        raise QueryError(f"a run is named by text, not by {type(run_id).__name__}")
    return run_id


@asked("resolve", run_id=_run_name)
def resolve_run(store: Store, run_id: str) -> str:
    """Return the full id of a run given its id, a unique beginning or end of it, or the name of the newest such run.

    Raises:
        NotFound: nothing, or more than one id, fits.
        QueryError: it is no text.
    """
    run_id = clean_text(_run_name(run_id))[0]
    with snapshot(store) as sight:
        if sight.knows(run_id):
            return run_id
        known = sight.rows(RUNS, None).filter(pl.col("deleted_at").is_null())
    ids = known["run_id"]
    ends = pl.DataFrame({"id": ids}).filter(
        pl.col("id").str.starts_with(run_id) | pl.col("id").str.ends_with(run_id)
    )["id"]
    if len(ends) == 1 and len(run_id) >= 4:
        return str(ends[0])
    named = known.filter(pl.col("name") == run_id).sort("started_at", descending=True)
    if named.height:
        return str(named["run_id"][0])
    if len(ends) > 1 and len(run_id) >= 4:
        raise NotFound(f"{len(ends)} runs fit {run_id!r}: give more of the id")
    hint = did_you_mean(run_id, known["name"].drop_nulls().unique().to_list()[:10_000])
    raise NotFound(f"no run {run_id!r} in {store.url}{hint}")
