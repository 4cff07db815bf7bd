"""Hyperparameter jobs and their trials as frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

import mlrun
from mlrun.errors import MlrunError
from mlrun.hyper.selector import Selector
from mlrun.view import TERMINAL_STATES

if TYPE_CHECKING:
    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["STOPPED_BY", "Job", "best_so_far", "job", "jobs"]

STOPPED_BY = "mlrun/stopped-by"
_COUNT = """
select parent as run_id, count(distinct iteration) as trials,
    count(distinct case when state in ('running', 'pending', 'created') then iteration end) as running,
    count(distinct case when state = 'error' then iteration end) as failed
from runs where iteration is not null and parent is not null group by parent
"""


def jobs(store: Store, project: str = "", limit: int = 200) -> pl.DataFrame:
    """Return the newest jobs: `run_id, name, project, state, started_at, duration, trials, running, failed`."""
    counts = mlrun.sql(_COUNT, store=store)
    columns = ["run_id", "name", "project", "state", "started_at", "duration"]
    newest = counts.sort("run_id", descending=True).head(limit * (5 if project else 1))
    if newest.is_empty():
        return pl.DataFrame(schema=dict.fromkeys([*columns, *counts.columns[1:]], pl.String))
    listed = ", ".join("'" + one.replace("'", "''") + "'" for one in newest["run_id"])
    found = mlrun.runs(
        project or None, where=f"run_id in ({listed})", columns=columns, children=True,
        limit=limit, store=store,
    )  # fmt: skip
    return found.join(newest, on="run_id", how="left", maintain_order="left")


@dataclass(frozen=True)
class Job:
    """One hyperparameter job.

    Attributes:
        view: the parent run.
        table: the iteration table: `state, iter`, `param.<key>`, `output.<key>`, and `run_id, name, stopped` in front.
        goal: the column of the table that decides; empty when the job names none that is there.
        way: `max` or `min`.
        facts: what the job's provenance says of it.
    """

    view: RunView
    table: pl.DataFrame
    goal: str
    way: str
    facts: dict[str, Any]

    @property
    def live(self) -> bool:
        """Whether it still runs."""
        return self.view.state not in TERMINAL_STATES

    @property
    def params(self) -> list[str]:
        """The columns of parameters."""
        return [name for name in self.table.columns if name.startswith("param.")]

    @property
    def outputs(self) -> list[str]:
        """The numeric columns of what came out."""
        kinds = self.table.schema
        return [n for n in kinds if n.startswith("output.") and kinds[n].is_numeric()]

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best trial so far."""
        if not self.goal:
            return None
        found = best_so_far(self.table, self.goal, self.way).filter(pl.col("is_best"))
        if found.is_empty():
            return None
        row: dict[str, Any] = self.table.row(
            by_predicate=pl.col("iter") == found["iter"][-1], named=True
        )
        return row


def job(store: Store, run_id: str) -> Job:
    """Return a job.

    Raises:
        NotFound: there is no such run.
    """
    view = mlrun.get_run(run_id, store=store)
    told = view.provenance.get("hyper")
    facts = dict(told) if isinstance(told, dict) else {}
    table = view.iterations
    escaped = view.id.replace("'", "''")
    known = mlrun.runs(
        where=f"parent = '{escaped}'", order_by=["iteration", "started_at"], archived=True,
        columns=["run_id", "name", "iteration", "labels"], store=store,
    )  # fmt: skip
    latest = known.unique("iteration", keep="last", maintain_order=True)
    stopped = [_stopped(labels) for labels in latest["labels"].to_list()]
    extra = latest.select(
        pl.col("iteration").cast(pl.Int64).alias("iter"),
        "run_id",
        "name",
        pl.Series("stopped", stopped, pl.String),
    )
    if "iter" in table.columns and table.height:
        table = table.join(extra, on="iter", how="left", maintain_order="left")
    else:
        table = pl.DataFrame(schema={"iter": pl.Int64, "state": pl.String, **dict(extra.schema)})
    front = ["iter", "state", "run_id", "name", "stopped"]
    table = table.select(*front, pl.exclude(front))
    goal, way = _goal(table, facts.get("selector"))
    return Job(view, table, goal, way, facts)


def best_so_far(table: pl.DataFrame, goal: str, way: str) -> pl.DataFrame:
    """Return how the best value came about: `iter, state, value, best, is_best`, by iteration.

    `best` is the best value of all completed trials up to there; `is_best` marks those that made it. Trials without
    a value are left out; those that failed or were stopped have one, but never are the best. Of equal ones the first
    counts.
    """
    rows = table.select("iter", "state", pl.col(goal).cast(pl.Float64, strict=False).alias("value"))
    rows = rows.filter(pl.col("value").is_not_null() & pl.col("value").is_not_nan()).sort("iter")
    counted = pl.when(pl.col("state") == "completed").then("value")
    best = counted.cum_min() if way == "min" else counted.cum_max()
    rows = rows.with_columns(best.forward_fill().alias("best"))
    before = pl.col("best").shift(1)
    made = pl.col("best").is_not_null() & (before.is_null() | (before != pl.col("best")))
    return rows.with_columns(made.fill_null(value=False).alias("is_best"))


def _goal(table: pl.DataFrame, selector: Any) -> tuple[str, str]:
    """Return the column that decides and which way: as the job says, else its first numeric output."""
    numeric = [n for n, k in table.schema.items() if n.startswith("output.") and k.is_numeric()]
    try:
        named = Selector.parse(selector) if isinstance(selector, str) else None
    except MlrunError:
        named = None
    if named is not None:
        column = f"output.{named.key}"
        return (column if column in numeric else ""), named.goal
    return (numeric[0] if numeric else ""), "max"


def _stopped(labels: Any) -> str | None:
    """Return what gave a trial up, of its labels."""
    try:
        known = json.loads(labels) if isinstance(labels, str) else dict(labels or {})
    except (TypeError, ValueError):
        return None
    found = known.get(STOPPED_BY) if isinstance(known, dict) else None
    return None if found is None else str(found)
