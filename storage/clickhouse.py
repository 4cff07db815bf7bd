"""Series in ClickHouse: `clickhouse://user@host:8123/database`, appended exactly once, read at a pinned commit."""

from __future__ import annotations

import shlex
import threading
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from mlrun.arrowmemory import numpy_of
from mlrun.contracts import PointFilter
from mlrun.credentials import with_secrets
from mlrun.errors import StoreError
from mlrun.tables import METRICS, ROLLUPS, conform

from .clickhouse_client import Client, name
from .clickhouse_log import TableLog
from .clickhouse_scan import Clauses, read
from .clickhouse_schema import MARK, known_tables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import polars as pl
    import pyarrow as pa

    from mlrun.contracts import Finding
    from mlrun.tables import Table

    from .clickhouse_log import Line, State

__all__ = ["ClickHouseSeries", "ClickHouseView"]

if find_spec("clickhouse_connect") is None:  # told when a store is opened, not when rows arrive
    raise ModuleNotFoundError("No module named 'clickhouse_connect'", name="clickhouse_connect")


class ClickHouseView:
    """A table up to a commit: what is appended or deleted later does not show."""

    def __init__(self, log: TableLog, state: State) -> None:
        self._log = log
        self._state = state

    def marks(self) -> dict[str, int]:
        """Return, for every journal writer, the highest mark whose rows are in the snapshot."""
        return dict(self._state.marks)

    def scan(
        self, where: PointFilter | None = None, *, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream the rows that match, in no promised order.

        Args:
            where: which rows; of rollups, those whose steps or times overlap the bounds.
            columns: names, in the order wanted; None for all.

        Raises:
            QueryError: the table has no such column.
            SnapshotExpired: rows that were deleted since have been freed.
        """
        table = self._log.table
        names = list(table.names if columns is None else columns)
        if unknown := [c for c in names if c not in table.names]:
            raise StoreError(f"table {table.name!r} has no column {unknown[0]!r}")
        where = where or PointFilter()
        clauses = Clauses()
        clauses.add_sight(self._log, self._state, where.run_ids)
        clauses.add_filter(where, table)
        return read(self._log, self._state, clauses, names)

    def lazy(self) -> pl.LazyFrame:
        """Return the snapshot as a lazy frame with all columns; filters on it reach the server."""
        from .clickhouse_lazy import lazy_frame

        return lazy_frame(self._log, self._state)

    def waiting(
        self,
        marks: Mapping[str, int],
        where: PointFilter | None = None,
        *,
        columns: Sequence[str] | None = None,
        known: Collection[str] = (),
    ) -> pa.Table:
        """Return the points that rollups with these marks do not tell of; see `mlrun.contracts.CanRollUp`."""
        from .clickhouse_rollups import behind, waiting

        names = list(self._log.table.names if columns is None else columns)
        late = behind(self._state, marks, known)
        return waiting(self._log, self._state, late, where or PointFilter(), names)


class ClickHouseSeries:
    """A database of ClickHouse, on a server or in this process.

    Meets the law of `mlrun.contracts.Series`, and CanCompact, CanDeletePoints, CanDeleteRuns, CanRollUp, CanMigrate,
    CanCheck. What an append has returned from is on the server's disk (`fsync=0` in the URL leaves that to its
    operating system).

    Args:
        url: `clickhouse://[user[:password]@]host[:port]/database[?secure=1]`, or `clickhouse+chdb:///folder` for the
            engine in this process, which has its folder for itself. The database is made by `create` or the first
            `append`.

    Attributes:
        url: without the password.
    """

    def __init__(self, url: str) -> None:
        self._client = Client(with_secrets(url))
        self.url = self._client.url
        self._lock = threading.Lock()
        self._logs: dict[str, TableLog] = {}

    @property
    def retention_days(self) -> float:
        """After how many days rows go, as the URL says; 0 if they stay."""
        return float(self._client.number("retention_days") or 0)

    def __repr__(self) -> str:
        """Show the URL without its password."""
        return f"ClickHouseSeries({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as URL without its password, see `mlrun.credentials`."""
        return ClickHouseSeries, (self.url,)

    def create(self, *tables: Table) -> None:
        """Make the database and tables if they are not there; idempotent, safe in a race.

        Raises:
            StoreVersionError: a newer mlrun made the database.
        """
        for table in tables:
            self._log(table).create()

    def append(self, table: Table, data: Any, *, marks: Mapping[str, int] | None = None) -> bool:
        """Commit rows and marks at once.

        Args:
            table: where to; made if it is not there.
            data: anything with `__arrow_c_stream__`, in any order of rows; text may be dictionary-encoded.
            marks: journal writer to the highest mark that `data` contains; marks of a writer grow, as they like.

        Returns:
            False if one of the marks is in the table already, or lies behind the `seq` of a row of its writer, as when
            somebody else appended the first of these rows meanwhile; nothing is written then.

        Raises:
            Disconnected: the server went away; the marks tell whether the rows are there.
        """
        log = self._log(table)
        rows = conform(data, table)
        lines: list[Line] = [(MARK, writer, number) for writer, number in (marks or {}).items()]
        first = _first_rows(rows, marks or {})
        refused = False

        def make(state: State) -> tuple[Any, list[Line]] | None:
            nonlocal refused
            refused = state.covers(marks) or state.passes(first)
            return None if refused or not (rows.num_rows or lines) else (rows, lines)

        _, done = log.commit(make)
        return done or not refused

    def snapshot(self, table: Table) -> ClickHouseView:
        """Pin the newest commit; an absent table gives an empty view."""
        log = self._log(table)
        return ClickHouseView(log, log.state())

    def close(self) -> None:
        """Release connections; later calls raise `StoreClosed`; idempotent."""
        self._client.close()

    def compact(self, table: Table, *, keep_hours: float = 1.0) -> dict[str, int]:
        """Free rows of runs deleted more than `keep_hours` ago, and have the server merge parts; rows do not change.

        Returns:
            Counts: `files_merged`, `files_written`, `files_freed`.
        """
        from .clickhouse_compact import compact

        rolled = self._log(ROLLUPS).state().marks if table is METRICS else None
        return compact(self._log(table), keep_hours=keep_hours, rolled=rolled)

    def delete_runs(self, table: Table, run_ids: Sequence[str]) -> int:
        """Delete all rows of these runs; returns how many. Their bytes go with a later `compact`."""
        from .clickhouse_compact import delete_runs

        return delete_runs(self._log(table), run_ids)

    def delete_points(self, table: Table, where: PointFilter) -> int:
        """Delete all rows that match; returns how many. Their bytes go with a later `compact`."""
        from .clickhouse_compact import delete_points

        return delete_points(self._log(table), where)

    def roll_up(self, *, least: int = 250_000) -> int:
        """Make rollups of the points that were appended without; does nothing while fewer than `least` wait.

        Returns:
            How many points were rolled up.
        """
        from .clickhouse_rollups import roll_up

        log, rollups = self._log(METRICS), self._log(ROLLUPS)
        return roll_up(log, rollups, partial(self.append, ROLLUPS), least=least)

    def check(self, *, repair: bool = False) -> list[Finding]:
        """Read every part of every table, checksums included; mending is for a backup or a replica."""
        from .clickhouse_check import check

        return [found for table in known_tables().values() for found in check(self._log(table))]

    def versions(self) -> tuple[int, int]:
        """Return the version of the database, 0 if it is not made yet, and the one that this mlrun writes."""
        from . import clickhouse_schema as schema

        return schema.stored_version(self._client) or 0, schema.VERSION

    def backup_command(self) -> str:
        """Return the command that backs the database up: by the server, onto its disk `backups`, or the folder."""
        parts = urlsplit(self.url)
        if self._client.embedded:
            return shlex.join(["tar", "-cf", "mlrun-series.tar", unquote(parts.path)])
        place = f"Disk('backups', '{self._client.database}.zip')"
        statement = f"BACKUP DATABASE {name(self._client.database)} TO {place}"
        command = ["clickhouse-client", "--host", str(parts.hostname), "--query", statement]
        return shlex.join(command)

    def migrate(self) -> None:
        """Bring an older database to this version, step by step; a step that was broken off is done again."""
        from .clickhouse_schema import migrate

        migrate(self._client)

    def _log(self, table: Table) -> TableLog:
        self._client.alive()
        with self._lock:
            if table.name not in self._logs:
                self._logs[table.name] = TableLog(self._client, table)
            return self._logs[table.name]


def _first_rows(rows: pa.Table, marks: Mapping[str, int]) -> dict[str, int]:
    """Return the least `seq` of the rows of each writer that has a mark."""
    if not rows.num_rows or "seq" not in rows.column_names:
        return {}
    words = rows.column("writer").combine_chunks().dictionary_encode()
    least = np.full(len(words.dictionary), np.iinfo(np.int64).max)
    np.minimum.at(least, numpy_of(words.indices), numpy_of(rows.column("seq")))
    found = zip(words.dictionary.to_pylist(), least.tolist(), strict=True)
    return {word: seq for word, seq in found if word in marks}
