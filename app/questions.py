"""The questions of `mlrun.wire.NOUNS`: what each may be asked with, and the function that answers it."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads the annotation
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlrun.errors import QueryError
from mlrun.lookup.sight import snapshot
from mlrun.tables import (
    ALIASES,
    ARTIFACTS,
    FUNCTION_TAGS,
    FUNCTIONS,
    LINEAGE,
    METRICS,
    PARAMS,
    PROJECTS,
    RESULTS,
    RUNS,
    SCHEDULES,
    SUMMARIES,
    SYSTEM_METRICS,
    TAGS,
    VIEWS,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

__all__ = ["LOOKED_UP", "MODELS", "QUESTIONS", "parse"]

_PER_RUN: dict[str, Table] = {t.name: t for t in (RUNS, PARAMS, RESULTS, TAGS, SUMMARIES)}
_SHARED: dict[str, Table] = {t.name: t for t in (PROJECTS, ARTIFACTS, LINEAGE, ALIASES)}
_OTHERS = (FUNCTIONS, FUNCTION_TAGS, SCHEDULES, VIEWS)
# rows that may be looked up by key: never those of keys, users and roles
LOOKED_UP: dict[str, Table] = _PER_RUN | _SHARED | {t.name: t for t in _OTHERS}


class Question(BaseModel):
    """Arguments, as the function of the same name takes them."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RunsQuestion(Question):
    """Arguments of `mlrun.runs`."""

    project: str | None = None
    where: str | None = Field(None, examples=["metrics.acc > 0.9 and params.lr = 0.1"])
    order_by: str | list[str] | None = "-started_at"
    limit: int | None = None
    offset: int = 0
    columns: list[str] | None = None
    children: bool = False
    archived: bool = False
    deleted: bool = False


class FindQuestion(Question):
    """Arguments of a search for ids, as those of `mlrun.runs`."""

    project: str | None = None
    where: str | None = None
    order_by: str | list[str] | None = None
    limit: int | None = None
    offset: int = 0
    children: bool = False
    archived: bool = False
    deleted: bool = False


class MetricsQuestion(Question):
    """Arguments of `mlrun.metrics`; `table` is `metrics` or `system_metrics`."""

    run_ids: list[str]
    keys: list[str] | str | None = None
    points: int | None = None
    x: str = "step"
    start: int | float | datetime | None = None
    end: int | float | datetime | None = None
    method: str = "minmaxlttb"
    last: bool = False
    exact: bool = True
    table: Literal["metrics", "system_metrics"] = "metrics"


class ParamsQuestion(Question):
    """Arguments of `mlrun.params`."""

    run_ids: list[str]


class ArtifactsQuestion(Question):
    """Arguments of `mlrun.artifacts`: a project's name or a run's id, several runs' ids, or nothing."""

    of: str | list[str] | None = None


class LogsQuestion(Question):
    """Arguments of `mlrun.logs`."""

    run_id: list[str]
    start: datetime | None = None
    tail: int | None = None


class ProjectsQuestion(Question):
    """`mlrun.projects` takes none."""


class RunQuestion(Question):
    """Names one run: its id, a beginning or end of it, or its name."""

    run_id: str


class RowsQuestion(Question):
    """Rows of several tables of some runs; None for all runs."""

    tables: list[Literal["runs", "params", "results", "tags", "summaries"]] = Field(max_length=5)
    run_ids: list[str] | None = None
    columns: list[str] | None = None
    keys: list[str] | None = None


class SharedQuestion(Question):
    """All rows of a table that is not per run."""

    table: Literal["projects", "artifacts", "lineage", "aliases"]


class SqlQuestion(Question):
    """Arguments of `mlrun.sql`."""

    query: str


def _runs(store: Any, **given: Any) -> pl.DataFrame:
    from mlrun.query import runs

    return runs(store, **given)


def _find(store: Any, **given: Any) -> list[str]:
    from mlrun.query import run_query

    asked = FindQuestion.model_construct(**given).model_dump()
    with snapshot(store) as sight:
        return sight.find(run_query(**asked))


def _metrics(store: Any, table: str = "metrics", **given: Any) -> pl.DataFrame:
    from mlrun.series.points import metrics

    return metrics(store, table=METRICS if table == "metrics" else SYSTEM_METRICS, **given)


def _params(store: Any, run_ids: list[str]) -> pl.DataFrame:
    from mlrun.query import params

    return params(store, run_ids)


def _artifacts(store: Any, of: Any = None) -> pl.DataFrame:
    from mlrun.query import artifacts

    return artifacts(store, of)


def _logs(store: Any, **given: Any) -> pl.DataFrame:
    from mlrun.query import logs

    return logs(store, **given)


def _projects(store: Any) -> pl.DataFrame:
    from mlrun.query import projects

    return projects(store)


def _resolve(store: Any, run_id: str) -> str:
    from mlrun.query import resolve_run

    return resolve_run(store, run_id)


def _iterations(store: Any, run_id: str) -> pl.DataFrame:
    from mlrun.hyper.table import stored_iterations

    return stored_iterations(store, run_id)


def _rows(
    store: Any,
    tables: list[str],
    run_ids: list[str] | None = None,
    columns: list[str] | None = None,
    keys: list[str] | None = None,
) -> dict[str, pl.DataFrame]:
    for name in columns or ():
        for table in tables:
            if name not in _PER_RUN[table].names:
                raise QueryError(f"the table {table!r} has no column {name!r}")
    if columns is not None and "run_id" not in columns:
        raise QueryError("`run_id` is one of the columns")
    with snapshot(store) as sight:
        return {
            name: sight.rows(table, run_ids, columns, None if table in (RUNS, TAGS) else keys)
            for name in tables
            for table in (_PER_RUN[name],)
        }


def _shared(store: Any, table: str) -> pl.DataFrame:
    with snapshot(store) as sight:
        return sight.shared(_SHARED[table])


# by noun; `sql` has a process of its own, see `app.sqlpool`
QUESTIONS: dict[str, Callable[..., Any]] = {
    "artifacts": _artifacts,
    "find": _find,
    "iterations": _iterations,
    "logs": _logs,
    "metrics": _metrics,
    "params": _params,
    "projects": _projects,
    "resolve": _resolve,
    "rows": _rows,
    "runs": _runs,
    "shared": _shared,
}
MODELS: dict[str, type[Question]] = {
    "artifacts": ArtifactsQuestion,
    "find": FindQuestion,
    "iterations": RunQuestion,
    "logs": LogsQuestion,
    "metrics": MetricsQuestion,
    "params": ParamsQuestion,
    "projects": ProjectsQuestion,
    "resolve": RunQuestion,
    "rows": RowsQuestion,
    "runs": RunsQuestion,
    "shared": SharedQuestion,
    "sql": SqlQuestion,
}


def parse(model: type[BaseModel], body: bytes) -> dict[str, Any]:
    """Return the arguments in a body, those that were given.

    Raises:
        QueryError: they do not fit.
    """
    try:
        found = model.model_validate_json(body or b"{}")
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'body'}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)[:3]
        )
        raise QueryError(told) from None
    return {name: getattr(found, name) for name in found.model_fields_set}
