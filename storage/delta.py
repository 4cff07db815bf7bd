"""Series in Delta tables: one table per subfolder, exactly-once appends, sorted files.

`delta:///abs/folder` is a folder of this machine; `delta+s3://bucket/folder`, `delta+gs://…` and `delta+az://…` are
folders in a bucket, with the options that `objectplace` tells of. There is no lock in a bucket and none is needed: a
version is committed by creating its file, which fails if there is one (conditional put).
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from mlrun.arrowmemory import empty_table
from mlrun.contracts import PointFilter
from mlrun.errors import ConfigError, StoreClosed, StoreError
from mlrun.series.ordering import sort_rows

from .delta_bucket import BucketFolder
from .delta_files import conformed, write_files
from .delta_folder import LocalFolder
from .delta_log import DeltaLog, State
from .delta_scan import Predicate, scan_files
from .objectplace import ObjectPlace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import polars as pl

    from mlrun.contracts import Finding
    from mlrun.tables import Table

    from .delta_folder import TableFolder

__all__ = ["DeltaSeries", "DeltaView"]


_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")


class DeltaView:
    """One version of a table: the file list and the marks are fixed when it is made."""

    def __init__(self, folder: TableFolder, table: Table, state: State) -> None:
        self._folder = folder
        self._table = table
        self._state = state

    def marks(self) -> dict[str, int]:
        """Return, for every journal writer, the highest segment number whose rows are in the snapshot."""
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
            SnapshotExpired: compaction has freed files of this snapshot.
            CorruptStore: a file cannot be read; the message says which, and what it held.
        """
        names = list(self._table.names if columns is None else columns)
        if unknown := [c for c in names if c not in self._table.names]:
            raise StoreError(f"table {self._table.name!r} has no column {unknown[0]!r}")
        predicate = Predicate.of(where or PointFilter(), self._table)
        schema = pa.schema([self._table.schema.field(c) for c in names])
        found = scan_files(self._folder, self._state.files, self._table, predicate, names)
        batches = (batch for part in found for batch in part.to_batches())
        return pa.RecordBatchReader.from_batches(schema, batches)

    def lazy(self) -> pl.LazyFrame:
        """Return the snapshot as a lazy frame with all columns; filters on it reach the files."""
        import polars as pl

        if not self._state.files:
            return pl.DataFrame(empty_table(self._table.schema)).lazy()
        paths = [self._folder.location(f.path) for f in self._state.files]
        if self._folder.options is None:
            return pl.scan_parquet(paths, glob=False, hive_partitioning=False)
        return pl.scan_parquet(
            paths,
            glob=False,
            hive_partitioning=False,
            storage_options=self._folder.options,
            credential_provider=None,  # the providers' own libraries are not needed
        )


class DeltaSeries:
    """A folder of Delta tables.

    Args:
        url: `delta:///absolute/folder`, percent-encoded, or `delta+s3://bucket/folder?options`. The folder is made by
            `create` or the first `append`; a bucket must be there.

    Attributes:
        url: without credentials.
    """

    def __init__(self, url: str) -> None:
        self._place = _place(url)
        self.url = f"delta+{self._place.url}" if isinstance(self._place, ObjectPlace) else url
        self._lock = threading.Lock()
        self._logs: dict[str, DeltaLog] = {}
        self._closed = False

    def __repr__(self) -> str:
        """Show the URL without credentials."""
        return f"DeltaSeries({self.url!r})"

    def __reduce__(self) -> tuple[type[DeltaSeries], tuple[str]]:
        """Travel as URL without credentials, see `mlrun.credentials`."""
        return DeltaSeries, (self.url,)

    def create(self, *tables: Table) -> None:
        """Make the tables if they are not there; idempotent, safe in a race."""
        for table in tables:
            self._log(table).create()

    def append(self, table: Table, data: Any, *, marks: Mapping[str, int] | None = None) -> bool:
        """Commit rows and marks at once; the rows are on the disk when this returns.

        Args:
            table: where to; made if it is not there.
            data: anything with `__arrow_c_stream__`, in any order of rows; text may be dictionary-encoded.
            marks: journal writer to the highest segment number that `data` contains.

        Returns:
            False if one of the marks is in the table already; nothing is written then.
        """
        log = self._log(table)
        rows = conformed(data, table)
        log.create()
        if _covered(log.state(), marks):
            return False
        if not rows.num_rows and not marks:
            return True
        files = write_files(
            log.folder, table, [sort_rows(rows, table.sort)] if rows.num_rows else []
        )
        done = log.commit(files, marks=marks)  # if it raises, the files stay: they may be committed
        if not done:
            for file in files:
                log.folder.remove(file.path)
        return done

    def snapshot(self, table: Table) -> DeltaView:
        """Pin the newest version; an absent table gives an empty view."""
        log = self._log(table)
        return DeltaView(log.folder, table, log.state())

    def close(self) -> None:
        """Release handles; later calls raise `StoreClosed`; idempotent."""
        with self._lock:
            self._closed = True
            logs, self._logs = list(self._logs.values()), {}
        for log in logs:
            log.close()

    def compact(self, table: Table, *, keep_hours: float = 1.0) -> dict[str, int]:
        """Merge small files in sort order, free files unused for `keep_hours`; rows do not change.

        Returns:
            Counts: `files_merged`, `files_written`, `files_freed`.
        """
        from .delta_compact import compact

        return compact(self._log(table), keep_hours=keep_hours)

    def gather(self, table: Table) -> dict[str, int]:
        """Merge small files once 16 of about one size gathered; frees as `compact` does. Rows and marks do not change.

        Returns:
            Counts: `files_merged`, `files_written`, `files_freed`.
        """
        from .delta_compact import gather

        return gather(self._log(table), keep_hours=1.0)

    def delete_runs(self, table: Table, run_ids: Sequence[str]) -> int:
        """Delete all rows of these runs; returns how many. Their bytes go with the next `compact`."""
        from .delta_compact import delete_runs

        return delete_runs(self._log(table), run_ids)

    def delete_points(self, table: Table, where: PointFilter) -> int:
        """Delete the rows that match; returns how many. Their bytes go with the next `compact`."""
        from .delta_compact import delete_points

        return delete_points(self._log(table), where)

    def check(self, *, repair: bool = False) -> list[Finding]:
        """Read every file of every table, page checksums included; with `repair`, drop what is lost from the log."""
        from .delta_check import check

        self._alive()
        return check(self.folder_of, repair=repair)

    def folder_of(self, name: str) -> TableFolder:
        """Return the folder of the table of this name."""
        if isinstance(self._place, ObjectPlace):
            return BucketFolder(self._place, name)
        return LocalFolder(self._place / name)

    def _log(self, table: Table) -> DeltaLog:
        with self._lock:
            self._alive()
            if table.name not in self._logs:
                self._logs[table.name] = DeltaLog(self.folder_of(table.name), table)
            return self._logs[table.name]

    def _alive(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self!r} is closed")


def _covered(state: State, marks: Mapping[str, int] | None) -> bool:
    return any(state.marks.get(writer, 0) >= number for writer, number in (marks or {}).items())


def _place(url: str) -> Path | ObjectPlace:
    """Tell a folder of this machine and one in a bucket apart."""
    if url.startswith("delta+"):
        return ObjectPlace.parse(url.removeprefix("delta+"))
    if not url.startswith("delta://"):
        raise ConfigError(f"a folder of Delta tables has the form delta:///folder, not {url!r}")
    folder = Path(unquote(url.removeprefix("delta://")))
    if not folder.is_absolute():
        raise ConfigError(f"{url!r} is not absolute: it needs three slashes")
    if _ESCAPE.search(str(folder)):
        raise ConfigError(
            f"{folder}: Delta takes % and two digits in a path for an escape; rename the folder"
        )
    return folder
