"""What a query may name: the tables that `mlrun.sql` offers, their columns and types, and first queries over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlrun.sqlquery.scans import SQL_TABLES
from mlrun.tables import ARTIFACTS, RUNS, SUMMARIES, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXAMPLES", "columns_of", "tables_for"]

# what they do, and the query
EXAMPLES: Mapping[str, str] = {
    "Best run of every project": """select project, name, max(s.max) as best
from runs join summaries s using (run_id)
where s.key = 'acc'
group by 1, 2
order by best desc
limit 20""",
    "Runs a day, by state": """select date_trunc('day', started_at) as day, state, count(*) as runs
from runs
group by 1, 2
order by 1""",
    "What fails most": """select function, count(*) as failures, max(started_at) as last
from runs
where state = 'error'
group by 1
order by failures desc
limit 20""",
    "Learning rate against loss": """select p.value as lr, s.last as loss, r.project
from runs r
join params p using (run_id)
join summaries s using (run_id)
where p.key = 'lr' and s.key = 'loss'
limit 1000""",
}
_WORDS = {"string": "text", "json": "JSON text", "int64": "whole number", "float64": "number",
          "bool": "true or false", "timestamp": "time, UTC"}  # fmt: skip
_ADMINS = frozenset({"audit"})


def tables_for(*, admin: bool) -> list[str]:
    """Return the tables that this session may name."""
    return [name for name in SQL_TABLES if admin or name not in _ADMINS]


def columns_of(table: str) -> pl.DataFrame:
    """Return `column, type` of a table that `mlrun.sql` offers, in its order."""
    rows = [(name, _WORDS.get(kind, kind)) for name, kind in _columns(table)]
    schema = {"column": pl.String, "type": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _columns(table: str) -> list[tuple[str, str]]:
    if table == "artifacts":
        known = {"run_id": "string", "aliases": "list of texts"}
        named = [
            "run_id",
            "project",
            "key",
            "type",
            "version",
            "aliases",
            "size",
            "sha256",
            "uri",
            "created_at",
            "meta",
        ]
        return [(c, known.get(c) or ARTIFACTS.column(c).type) for c in named]
    if table == "runs_wide":
        own = [(c, RUNS.column(c).type) for c in RUNS.visible]
        more = ("params", "results", "metrics")
        return [
            *own, ("duration", "duration"), ("tags", "list of texts"),
            *((f"{scope}.…", "as logged; one column for each") for scope in more),
        ]  # fmt: skip
    found = [(c, TABLES[table].column(c).type) for c in TABLES[table].visible]
    if table == "runs":
        return [*found, ("duration", "duration")]
    if table == "summaries":
        kept = [c for c in found if c[0] != "last"]
        return [*kept, ("last", SUMMARIES.column("last").type), ("mean", "float64")]
    return found
