"""Look for damage in ClickHouse: parts whose checksums are wrong or that were set aside, and rows that are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import Finding
from mlrun.errors import StoreError

from .clickhouse_schema import COMMIT, DATA, FREED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .clickhouse_log import TableLog

__all__ = ["check"]


def check(log: TableLog) -> list[Finding]:
    """Read a table, checksums included; repairing is for a backup or a replica."""
    if not log.state().made:
        return []
    where = f"series/{log.table.name}"
    try:
        return [*_parts(log, where), *_set_aside(log, where), *_counts(log, where)]
    except StoreError as error:
        return [Finding("lost", where, f"the table cannot be read: {error}")]


def _parts(log: TableLog, where: str) -> Iterator[Finding]:
    found = log.client.rows(f"CHECK TABLE {log.name} SETTINGS check_query_single_value_result = 0")
    for part, passed, message in found:
        if not passed:
            yield Finding("lost", f"{where}/{part}", f"a part is damaged: {message}")


def _set_aside(log: TableLog, where: str) -> Iterator[Finding]:
    """Tell of parts that the server could not load when it started."""
    found = log.client.rows(
        "SELECT name, coalesce(reason, '') AS reason FROM system.detached_parts "
        "WHERE database = {database:String} AND table = {table:String} AND startsWith(coalesce(reason, ''), 'broken')",
        {"database": log.client.database, "table": log.table.name},
    )
    for part, reason in found:
        yield Finding("lost", f"{where}/{part}", f"the server set a part aside: {reason}")


def _counts(log: TableLog, where: str) -> Iterator[Finding]:
    """Compare the rows of each commit with what it said; those of which rows were freed cannot be told apart."""
    if log.client.number("retention_days"):
        return
    found = log.client.rows(
        f"""WITH (SELECT max(mlrun_number) FROM {log.name} WHERE mlrun_kind = {FREED}) AS freed
        SELECT mlrun_commit AS commit, toInt64(countIf(mlrun_kind = {DATA})) AS rows,
            maxIf(mlrun_number, mlrun_kind = {COMMIT}) AS told FROM {log.name} WHERE mlrun_commit > freed
        GROUP BY commit HAVING rows != told AND countIf(mlrun_kind = {COMMIT}) > 0 ORDER BY commit LIMIT 20"""
    )
    for commit, rows, told in found:
        yield Finding("lost", where, f"commit {commit} has {rows:,} of its {told:,} rows")
