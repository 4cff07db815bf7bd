"""`sql()` asked of a store, here or over a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.asking import asked

if TYPE_CHECKING:
    import polars as pl

    from mlrun.store import Store

__all__ = ["answer_sql"]


@asked("sql")
def answer_sql(store: Store, query: str) -> pl.DataFrame:
    """Answer one SELECT over the tables of a store; see `mlrun.sql`."""
    from mlrun.sqlquery.answer import run_sql
    from mlrun.sqlquery.scans import sql_tables

    with sql_tables(store, query) as tables:
        return run_sql(query, tables)
