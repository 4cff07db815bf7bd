"""The questions and changes of the public face; each calls the room that answers it, loaded when first asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    import polars as pl

    from mlrun.content.dataitem import DataItem
    from mlrun.execution.law import Executor, Needs
    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = [
    "artifacts",
    "compact",
    "delete_runs",
    "get_artifact",
    "get_run",
    "logs",
    "map_table",
    "metrics",
    "open_store",
    "params",
    "projects",
    "runs",
    "sql",
]


def _asked(store: Store | str | Path | None) -> Store:
    """Return the store that a question goes to: the one named, else the open run's, else the settings'."""
    from mlrun.errors import NotFound
    from mlrun.store import open_store as open_
    from mlrun.tracking.current import open_run_of_process

    run = open_run_of_process() if store is None else None
    own: Store | None = None if run is None else run.store
    if own is not None:
        return own  # also after the process has changed its folder
    found = open_(store)
    if store is not None and not found.exists():
        raise NotFound(f"there is no store in {found.url}")
    return found


def open_store(url: str | Path | None = None) -> Store:
    """Return the store in a folder; without one, the settings' store (`MLRUN_DBPATH`, else `.mlrun`).

    Nothing is read or made before the store is used. The same folder gives the same object.

    Raises:
        ConfigError: the URL's scheme is not known.
    """
    from mlrun.store import open_store as open_

    return open_(url)


def runs(
    project: str | None = None,
    where: str | None = None,
    order_by: str | Sequence[str] | None = "-started_at",
    limit: int | None = None,
    offset: int = 0,
    columns: Sequence[str] | None = None,
    children: bool = False,
    *,
    archived: bool = False,
    deleted: bool = False,
    store: Store | str | Path | None = None,
) -> pl.DataFrame:
    """Return runs as a frame, one row each, live ones included.

    Columns are the run's own (`run_id, name, project, state, … tags, labels, notes, error, dropped`), then
    `params.<k>`, `results.<k>` and `metrics.<k>` (the last value). A column whose runs differ in type is Float64 if
    all are numbers, else the JSON text.

    Args:
        project: only this project; None for all.
        where: an expression such as `"metrics.acc > 0.9 and params.lr = 0.1 and 'baseline' in tags"`.
        order_by: a name, or several; a leading `-` turns the order round. NaN and missing come last both ways.
        limit: at most so many rows.
        offset: leave out so many rows first.
        columns: only these columns, in this order, named as in `where`.
        children: also iterations, retries and steps of other runs.
        archived: also archived runs.
        deleted: also runs that were deleted in the last 30 days.
        store: a store or its folder; default the settings' store.

    Raises:
        WhereError: an expression or a name cannot be understood; the message points at the place.

    Example:
        >>> import mlrun
        >>> with mlrun.init(project="doc", name="a", config={"lr": 0.1}) as run:
        ...     run.log({"acc": 0.9})
        >>> mlrun.runs("doc", where="metrics.acc > 0.5", columns=["name", "params.lr", "metrics.acc"]).rows()
        [('a', 0.1, 0.9)]
    """
    from mlrun.query import runs as find

    return find(
        _asked(store), project, where, order_by, limit, offset, columns, children, archived, deleted
    )


def metrics(
    run_ids: Any,
    keys: Sequence[str] | str | None = None,
    points: int | None = None,
    x: str = "step",
    start: float | datetime | None = None,
    end: float | datetime | None = None,
    method: str = "minmaxlttb",
    last: bool = False,
    *,
    exact: bool = True,
    system: bool = False,
    store: Store | str | Path | None = None,
) -> pl.DataFrame:
    """Return logged points: `run_id, key, step, time, value`.

    Args:
        run_ids: an id, a run, a frame with `run_id`, or a list of these.
        keys: metric names, or patterns such as `"val/*"`; None for all.
        points: downsample every series to at most so many rows; its first, last, least and greatest values and its NaN
            gaps stay. None returns every stored row, re-logged ones too, by (run, key, step, order of writing).
        x: `step`, `time`, `relative` (seconds since the run's first point) or `metrics.<key>`.
        start: first value of `x` wanted, inclusive, in the units of `x`.
        end: last value of `x` wanted, inclusive.
        method: `minmaxlttb`, `lttb`, `minmax` or `m4`.
        last: keep one row per (run, key, step), the one written last.
        exact: False with `points` lets long series reach a little beyond `start` and `end`, to rows that a chart has
            at hand: those of hundreds of series are there several times sooner.
        system: what was sampled of the host instead (`cpu/…`, `memory/…`, …), whose step is whole seconds since 1970.
        store: a store or its folder; default the settings' store.

    Raises:
        QueryError: an argument has no meaning.
    """
    from mlrun.series.points import metrics as read
    from mlrun.tables import METRICS, SYSTEM_METRICS

    wanted = [keys] if isinstance(keys, str) else keys
    return read(
        _asked(store),
        run_ids,
        keys=wanted,
        points=points,
        x=x,
        start=start,
        end=end,
        method=method,
        last=last,
        exact=exact,
        table=SYSTEM_METRICS if system else METRICS,
    )


def params(run_ids: Any, *, store: Store | str | Path | None = None) -> pl.DataFrame:
    """Return parameters in long form: `run_id, key, value` (JSON text), `type`."""
    from mlrun.query import params as read

    return read(_asked(store), run_ids)


def artifacts(
    project_or_run: Any = None, *, store: Store | str | Path | None = None
) -> pl.DataFrame:
    """Return artifacts of a project, of a run (id or view), or all of them.

    Columns: `run_id, project, key, type, version, aliases, size` (bytes), `sha256, uri, created_at`; one row for every
    run and step that logged a version.
    """
    from mlrun.query import artifacts as read

    return read(_asked(store), project_or_run)


def logs(
    run_id: Any,
    start: datetime | None = None,
    tail: int | None = None,
    *,
    store: Store | str | Path | None = None,
) -> pl.DataFrame:
    """Return what a run printed: `run_id, time, stream` (stdout or stderr), `line`, oldest first.

    Args:
        run_id: an id, a run, a frame with `run_id`, or a list of these.
        start: first time wanted, inclusive; without a zone it is UTC.
        tail: only so many of the last lines.
        store: a store or its folder; default the settings' store.
    """
    from mlrun.query import logs as read

    return read(_asked(store), run_id, start, tail)


def projects(*, store: Store | str | Path | None = None) -> pl.DataFrame:
    """Return one row per project, with its number of runs, of running ones, and its latest start."""
    from mlrun.query import projects as read

    return read(_asked(store))


def sql(query: str, *, store: Store | str | Path | None = None) -> pl.DataFrame:
    """Answer one SELECT over the stored tables.

    Tables: `runs, params, results, metrics, summaries, tags, artifacts, logs, system_metrics`, and `runs_wide` (a row
    per run with a column per parameter, result and metric). Windows, CTEs, joins and subqueries work; nothing else than
    these tables can be read, and nothing can be changed.

    Raises:
        SQLError: not one SELECT, or an unknown table, column or function.

    Example:
        >>> import mlrun
        >>> with mlrun.init(project="doc", name="a") as run:
        ...     run.log({"acc": 0.5})
        ...     run.log({"acc": 0.7})
        >>> mlrun.sql("select r.name, max(m.value) as best from runs r join metrics m using (run_id) group by 1").rows()
        [('a', 0.7)]
    """
    from mlrun.sqlquery.question import answer_sql

    return answer_sql(_asked(store), query)


def map_table(
    fn: Callable[[pl.DataFrame], Any],
    frame_or_query: Any,
    batch_size: int = 65_536,
    *,
    executor: str | Executor | None = None,
    needs: Needs | None = None,
    in_flight: int | None = None,
    name: str | None = None,
    store: Store | str | Path | None = None,
) -> pl.DataFrame:
    """Call `fn` on every batch of a table, on an executor, and return the answers as one table.

    Batches are read while others are worked on, so a stored table need not fit into memory; on Ray they travel through
    its shared memory. The rows come back in the order of the batches. A table without rows is one batch without rows.

    Args:
        fn: takes a Polars frame of at most `batch_size` rows; returns a frame or an Arrow table, of the same columns
            for every batch.
        frame_or_query: a Polars frame, eager or lazy, an Arrow table or reader, a SELECT as for `sql`, or the name of
            a table.
        batch_size: rows.
        executor: as in `fn.run`; default `MLRUN_EXECUTOR`, else Ray where it runs, else processes of this host.
        needs: what each call needs there.
        in_flight: batches that are read ahead and worked on at once; default two for each slot.
        name: also store the table, as a dataset of the open run, or of a run of its own.
        store: a store or its folder, for a query; default the settings' store.

    Raises:
        JobError: `fn` raised; the other batches are cancelled.
        ConfigError: an argument has no meaning, or `fn` returned no table.

    Example:
        >>> import mlrun
        >>> import polars as pl
        >>> frame = pl.DataFrame({"x": range(5)})
        >>> twice = mlrun.map_table(lambda batch: batch * 2, frame, batch_size=2, executor="local")
        >>> twice["x"].to_list()
        [0, 2, 4, 6, 8]
    """
    from mlrun.tablemap import map_table as apply

    asked = _asked(store) if isinstance(frame_or_query, str) else None
    return apply(
        asked,
        fn,
        frame_or_query,
        batch_size,
        executor=executor,
        needs=needs,
        in_flight=in_flight,
        name=name,
    )


def get_run(run_id: str, *, store: Store | str | Path | None = None) -> RunView:
    """Return one run by its id, a unique beginning or end of it (4 characters or more), or the newest of that name.

    Raises:
        NotFound: nothing fits; the message names the nearest.
    """
    from mlrun.view import get_run as find

    return find(_asked(store), run_id)


def get_artifact(name: str, *, store: Store | str | Path | None = None) -> DataItem:
    """Return an artifact: `project/key`, `project/key:v2`, `project/key:alias` or its `store://` URI.

    Raises:
        NotFound: no such artifact, version or alias.
    """
    from mlrun.content.dataitem import find_artifact

    return find_artifact(_asked(store), name)


def delete_runs(
    where: str, *, project: str | None = None, store: Store | str | Path | None = None
) -> int:
    """Delete the runs that `where` means, softly, and return how many; `compact` frees them after 30 days.

    Runs that have not ended are left alone.

    Raises:
        QueryError: `where` is empty.
        WhereError: it cannot be understood.
    """
    from mlrun.change import delete_runs as delete

    return delete(_asked(store), where, project)


def compact(*, store: Store | str | Path | None = None) -> dict[str, int]:
    """Absorb the journal, merge small files, free runs deleted over 30 days ago and what nobody references.

    Returns:
        Counts of what was done.
    """
    from mlrun.care.compaction import compact as run

    return run(_asked(store))
