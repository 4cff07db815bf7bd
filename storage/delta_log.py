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

from .delta_files import DataFile, stats_columns, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from deltalake import DeltaTable

    from mlrun.tables import Table

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

    def __init__(self, folder: Path, table: Table) -> None:
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

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
            DeltaTable.create(str(self.folder), schema, mode="ignore", configuration=settings)
        except (DeltaError, OSError) as error:
            if self._opened() is None:
                raise StoreError(f"cannot create table {self.table.name!r}: {error}") from error

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
                for action in _actions(self.folder / "_delta_log", "remove", 0, version)
            }

    def close(self) -> None:
        """Forget the handle."""
        with self._lock:
            self._handle, self._state = None, State()

    def _opened(self) -> DeltaTable | None:
        with self._lock:
            if self._handle is None:
                log = self.folder / "_delta_log"
                if not log.is_dir() or not any(log.glob("*.json")):
                    return None
                _mark_process()
                from deltalake import DeltaTable

                try:
                    handle = DeltaTable(str(self.folder))
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
            f"the log of table {self.table.name!r} cannot be read ({error}); `mlrun doctor --repair` may mend it"
        )

    def _read(self, handle: DeltaTable) -> State:
        version, old = handle.version(), self._state
        marks = dict(old.marks)
        log = self.folder / "_delta_log"
        for action in _actions(log, "txn", old.version + 1, version):
            txn = action["txn"]
            marks[txn["appId"]] = int(txn["version"])
        return State(version, tuple(_files(handle, stats_columns(self.table))), marks)

    def _present(self, adds: Iterable[DataFile]) -> None:
        for file in adds:
            if not (self.folder / file.path).exists():
                raise StoreError(f"file {file.path} was freed before it was committed: write again")

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
        log = self.folder / "_delta_log"
        state = self.state()
        try:
            fd = os.open(log / f"{state.version:020}.json", os.O_RDONLY)
        except FileNotFoundError:
            return  # a checkpoint took its place
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folder(log)


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


def _actions(log: Path, kind: str, first: int, last: int) -> list[dict[str, Any]]:
    """Return the actions of a kind in versions `first..last`, oldest first, from the checkpoint if commits are gone."""
    found: list[dict[str, Any]] = []
    commits = {v: log / f"{v:020}.json" for v in range(first, last + 1)}
    start = _last_checkpoint(log, last)
    if start >= first:
        import pyarrow.parquet as pq

        for path in sorted(log.glob(f"{start:020}.checkpoint*.parquet")):
            with pq.ParquetFile(path) as checkpoint:  # read_table() would load pyarrow.dataset
                rows = checkpoint.read(columns=[kind]).column(kind).drop_null()
            found += [{kind: row} for row in rows.to_pylist()]
        commits = {v: path for v, path in commits.items() if v > start}
    for path in commits.values():
        with path.open(encoding="utf-8") as lines:
            # the kind is looked for first: lines that add files carry long statistics
            found += [
                a for line in lines if f'"{kind}"' in line and kind in (a := json.loads(line))
            ]
    return found


def _last_checkpoint(log: Path, last: int) -> int:
    versions = [int(m[1]) for name in os.listdir(log) if (m := _CHECKPOINT.fullmatch(name))]
    return max((v for v in versions if v <= last), default=-1)


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
