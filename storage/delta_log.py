"""The log of one Delta table: which files and marks make up its newest version, and how to commit the next one.

Two things that deltalake does not do by itself are done here. A commit with application transactions is compared only
with what was committed since the handle was loaded, so the marks are checked on the same handle first and the commit is
tried without retries (a conflict re-loads and checks again). And all marks are wanted at once: they are read from
the newest checkpoint and the commits after it.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import CorruptStore, StoreError, StoreVersionError

from .delta_files import DataFile, stats_columns
from .delta_folder import LOG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deltalake import DeltaTable

    from mlrun.tables import Table

    from .delta_folder import TableFolder

__all__ = ["CHECKPOINT_EVERY", "DeltaLog", "State"]

CHECKPOINT_EVERY = 25
_COMMIT_SECONDS = 120.0
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.\d{10})?\.parquet")
_first_pid = 0  # the process in which deltalake's runtime was started


@dataclass(frozen=True)
class State:
    """One version of a table: its files and marks; version -1 is a table that is not there."""

    version: int = -1
    files: tuple[DataFile, ...] = ()
    marks: Mapping[str, int] = field(default_factory=dict)


class DeltaLog:
    """Handle of one table, for many threads; loads what is new when asked for the state."""

    def __init__(self, folder: TableFolder, table: Table) -> None:
        self.folder = folder
        self.table = table
        self._lock = threading.RLock()
        self._handle: DeltaTable | None = None
        self._state = State()

    def create(self) -> None:
        """Make the table if it is not there; whoever comes second in a race finds it made."""
        _refuse_fork()
        if self._opened() is not None:
            return
        _mark_process()
        from deltalake import DeltaTable, Schema
        from deltalake.exceptions import DeltaError

        self.folder.make()
        settings = {
            "delta.checkpointInterval": str(CHECKPOINT_EVERY),
            "delta.dataSkippingStatsColumns": ",".join(stats_columns(self.table)),
            # Marks live in application transactions: no delta.setTransactionRetentionDuration, they are kept for ever.
            # Readers hold the file list of their version in memory, so the commits behind it may go soon.
            "delta.logRetentionDuration": "interval 1 hours",
            "delta.enableExpiredLogCleanup": "true",
        }
        try:
            schema = Schema.from_arrow(self.table.schema)
            DeltaTable.create(
                self.folder.uri,
                schema,
                mode="ignore",
                configuration=settings,
                storage_options=self.folder.options,
            )
        except (DeltaError, OSError) as error:
            if self._opened() is None:
                why = self.folder.explain(error)
                raise StoreError(f"cannot create table {self.table.name!r}: {why}") from None

    def state(self) -> State:
        """Return the newest version.

        Raises:
            CorruptStore: the log cannot be read; `check(repair=True)` may mend it.
        """
        _refuse_fork()
        with self._lock:
            for attempt in range(3):
                handle = self._opened()
                if handle is None:
                    return State()
                try:
                    handle.update_incremental()
                    if handle.version() != self._state.version:
                        self._state = self._read(handle)
                    return self._state
                except Exception as error:
                    self.close()
                    # another process may just have dropped commits that we were about to read: load afresh
                    if attempt == 2:
                        raise self._unreadable(error) from error
            raise AssertionError("the loop returns or raises")

    def commit(
        self,
        adds: Sequence[DataFile],
        *,
        removes: Sequence[DataFile] = (),
        marks: Mapping[str, int] | None = None,
        same_rows: bool = False,
    ) -> bool:
        """Commit files and marks as one version.

        Args:
            adds: files that lie in the folder, synced.
            removes: files of an earlier state that these replace.
            marks: writer name to highest segment number contained.
            same_rows: the rows of the table do not change (compaction).

        Returns:
            False, with nothing committed, if a mark is already there or a file to remove is no longer.
        """
        from deltalake.exceptions import CommitFailedError

        limit = time.monotonic() + _COMMIT_SECONDS
        with self._lock:
            while True:
                state = self.state()
                known = {f.path for f in state.files}
                if adds and adds[0].path in known:
                    return True  # committed, though an error was raised afterwards
                if any(state.marks.get(w, 0) >= number for w, number in (marks or {}).items()):
                    return False
                if any(f.path not in known for f in removes):
                    return False
                self._present(adds)
                try:
                    self._write(adds, removes, marks or {}, same_rows)
                except CommitFailedError as error:  # somebody was first: look again
                    if time.monotonic() > limit:
                        raise StoreError(
                            f"table {self.table.name!r}: other writers committed for two minutes on end"
                        ) from error
                    time.sleep(random.uniform(0, 0.01))
                    continue
                self._sync()
                return True

    def checkpoint(self) -> None:
        """Write a checkpoint of the newest version and drop the commits that are past their time."""
        with self._lock:
            if self.state().version >= 0:
                assert self._handle is not None
                self._handle.create_checkpoint()
                self._handle.cleanup_metadata()

    def tombstones(self) -> dict[str, float]:
        """Return the files that were removed not long ago, with the time of it (Unix seconds)."""
        with self._lock:
            version = self.state().version
            return {
                action["remove"]["path"]: action["remove"].get("deletionTimestamp", 0) / 1000
                for action in _actions(self.folder, "remove", 0, version)
            }

    def close(self) -> None:
        """Forget the handle."""
        with self._lock:
            self._handle, self._state = None, State()

    def _opened(self) -> DeltaTable | None:
        with self._lock:
            if self._handle is None:
                if not self.folder.has_table():
                    return None
                _mark_process()
                from deltalake import DeltaTable

                try:
                    handle = DeltaTable(self.folder.uri, storage_options=self.folder.options)
                    self._check_schema(handle)
                except StoreVersionError:
                    raise
                except Exception as error:
                    raise self._unreadable(error) from error
                self._handle = handle
            return self._handle

    def _check_schema(self, handle: DeltaTable) -> None:
        found = [f.name for f in handle.schema().fields]
        if found != list(self.table.names):
            raise StoreVersionError(
                f"table {self.table.name!r} was written by another version: its columns are {', '.join(found)}"
            )

    def _unreadable(self, error: Exception) -> CorruptStore:
        return CorruptStore(
            f"the log of table {self.table.name!r} cannot be read ({self.folder.explain(error)}); "
            "`mlrun doctor --repair` may mend it"
        )

    def _read(self, handle: DeltaTable) -> State:
        version, old = handle.version(), self._state
        marks = dict(old.marks)
        for action in _actions(self.folder, "txn", old.version + 1, version):
            txn = action["txn"]
            marks[txn["appId"]] = int(txn["version"])
        return State(version, tuple(_files(handle, stats_columns(self.table))), marks)

    def _present(self, adds: Iterable[DataFile]) -> None:
        for file in adds:
            try:
                self.folder.size(file.path)
            except FileNotFoundError:
                raise StoreError(
                    f"file {file.path} was freed before it was committed: write again"
                ) from None

    def _write(
        self,
        adds: Sequence[DataFile],
        removes: Sequence[DataFile],
        marks: Mapping[str, int],
        same_rows: bool,
    ) -> None:
        from deltalake import CommitProperties, Schema, Transaction
        from deltalake.transaction import AddAction, RemoveAction

        assert self._handle is not None
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(f.path, f.size, {}, now, not same_rows, f.stats) for f in adds
        ]
        actions += [RemoveAction(f.path, not same_rows, now, f.size, {}) for f in removes]
        self._handle.create_write_transaction(
            actions,
            "append",
            Schema.from_arrow(self.table.schema),
            commit_properties=CommitProperties(
                max_commit_retries=0,
                app_transactions=[Transaction(w, number) for w, number in marks.items()],
            ),
        )

    def _sync(self) -> None:
        """Make the newest commit durable before the journal forgets its rows."""
        # if the commit is gone a checkpoint took its place
        self.folder.sync(LOG, f"{self.state().version:020}.json")


def _files(handle: DeltaTable, columns: Sequence[str]) -> Iterable[DataFile]:
    import pyarrow as pa

    adds = pa.RecordBatchReader.from_stream(handle.get_add_actions(flatten=True)).read_all()
    bounds: dict[str, tuple[list[Any], list[Any]]] = {}
    for name in columns:
        if f"min.{name}" in adds.column_names and f"max.{name}" in adds.column_names:
            bounds[name] = _plain(adds.column(f"min.{name}")), _plain(adds.column(f"max.{name}"))
    base = [adds.column(c).to_pylist() for c in ("path", "size_bytes", "num_records")]
    for row, (path, size, rows) in enumerate(zip(*base, strict=True)):
        found = {
            name: (low[row], high[row])
            for name, (low, high) in bounds.items()
            if low[row] is not None and high[row] is not None
        }
        yield DataFile(path, size, rows or 0, found)


def _plain(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return [v.encode("utf-8") if isinstance(v, str) else v for v in column.to_pylist()]


def _actions(folder: TableFolder, kind: str, first: int, last: int) -> list[dict[str, Any]]:
    """Return the actions of a kind in versions `first..last`, oldest first, from the checkpoint if commits are gone."""
    found: list[dict[str, Any]] = []
    start, parts = _last_checkpoint(folder, last)
    if start >= first:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for data in folder.read(parts):
            with pq.ParquetFile(
                pa.BufferReader(data)
            ) as checkpoint:  # read_table() would load pyarrow.dataset
                rows = checkpoint.read(columns=[kind]).column(kind).drop_null()
            found += [{kind: row} for row in rows.to_pylist()]
        first = start + 1
    mark = f'"{kind}"'.encode()
    for data in folder.read(f"{LOG}/{v:020}.json" for v in range(first, last + 1)):
        # the kind is looked for first: lines that add files carry long statistics
        found += [
            a for line in data.splitlines() if mark in line and kind in (a := json.loads(line))
        ]
    return found


def _last_checkpoint(folder: TableFolder, last: int) -> tuple[int, list[str]]:
    """Return the newest checkpoint up to a version, with the names of its parts; -1 if there is none."""
    parts: dict[int, list[str]] = {}
    for name, _ in folder.names(LOG):
        if matched := _CHECKPOINT.fullmatch(name):
            parts.setdefault(int(matched[1]), []).append(f"{LOG}/{name}")
    start = max((v for v in parts if v <= last), default=-1)
    return start, sorted(parts.get(start, ()))


def _mark_process() -> None:
    global _first_pid  # the runtime is one per process
    _first_pid = _first_pid or os.getpid()


def _refuse_fork() -> None:
    """Raise in a forked child of a process that used deltalake: its runtime would end the child with a panic."""
    if _first_pid not in (0, os.getpid()):
        raise StoreError(
            "Delta tables cannot be used in a forked child of a process that used them: "
            'start it with the "spawn" or "forkserver" method'
        )
