"""Rewrite files of a Delta table: merge small ones in sort order, leave out deleted runs, free what nothing needs.

`compact` merges whatever is small. `gather` merges only what is worth it while the table grows: its cost follows what
was appended since, and it keeps the files few.

The merge reads sorted files side by side, a slice of each at a time, so its memory does not grow with the table.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlrun.arrowmemory import arrow_of
from mlrun.contracts import PointFilter
from mlrun.series.ordering import sort_rows

from .delta_files import FILE_BYTES, DataFile, group_rows, write_files
from .delta_scan import Predicate, open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow.parquet as pq

    from mlrun.tables import Table

    from .delta_log import DeltaLog, State

__all__ = ["GATHER_FILES", "compact", "delete_points", "delete_runs", "gather"]

SMALL_BYTES = FILE_BYTES // 2
GATHER_FILES = 16  # of about one size: every file that a chart opens costs it a millisecond or two
_ALIKE = 2  # times all smaller files together: a larger one would be rewritten for too little
_TRIFLE_BYTES = 1 << 20  # rewriting this costs next to nothing
_MERGE_FILES = 256  # at once; more are merged in rounds
_MERGE_ROWS = 1 << 20  # held in memory, over all files
_ORPHAN_HOURS = 1.0  # a file younger than this may be about to be committed


def compact(log: DeltaLog, *, keep_hours: float) -> dict[str, int]:
    """Merge, then free; see `DeltaSeries.compact`."""
    counts = {"files_merged": 0, "files_written": 0, "files_freed": 0}
    while chosen := _choose(log.state()):
        written = _rewrite(log, chosen, _merged(log, chosen), same_rows=True)
        if written is None:
            break  # another process rewrites the same files
        counts["files_merged"] += len(chosen)
        counts["files_written"] += len(written)
        if len(written) >= len(chosen):
            break
    if log.state().version >= 0:
        log.checkpoint()
        counts["files_freed"] = _free(log, keep_hours)
    return counts


def gather(log: DeltaLog, *, keep_hours: float) -> dict[str, int]:
    """Merge small files once enough of one size gathered, then free; see `DeltaSeries.gather`."""
    counts = {"files_merged": 0, "files_written": 0, "files_freed": 0}
    if chosen := _gathered(log.state()):
        written = _rewrite(log, chosen, _merged(log, chosen), same_rows=True)
        if written is not None:  # else another process rewrites the same files
            counts["files_merged"], counts["files_written"] = len(chosen), len(written)
            counts["files_freed"] = _free(log, keep_hours)
    return counts


def delete_runs(log: DeltaLog, run_ids: Sequence[str]) -> int:
    """Rewrite the files that hold these runs without them; returns how many rows went."""
    return delete_points(log, PointFilter(run_ids=tuple(run_ids))) if run_ids else 0


def delete_points(log: DeltaLog, where: PointFilter) -> int:
    """Rewrite the files that hold such rows without them; returns how many went."""
    predicate = Predicate.of(where, log.table)
    gone = 0
    skipped: set[str] = set()
    while True:
        file = next(
            (
                f
                for f in log.state().files
                if f.path not in skipped and predicate.may_hold(f.bounds)
            ),
            None,
        )
        if file is None:
            break
        kept = _Kept(log, file, predicate)
        if not kept.finds_any():
            skipped.add(file.path)
            continue
        written = _rewrite(log, [file], kept.rows(), same_rows=False)
        if written is not None:  # else somebody else rewrote it: look at what there is now
            skipped |= {f.path for f in written}
            gone += file.rows - sum(f.rows for f in written)
    return gone


def _choose(state: State) -> list[DataFile]:
    """Pick the small files, if merging them makes fewer; oldest runs first."""
    small = [f for f in state.files if f.size < SMALL_BYTES]
    small.sort(key=lambda f: f.path)  # names are in the order of writing
    return small[:_MERGE_FILES] if len(small) > 1 else []


def _gathered(state: State) -> list[DataFile]:
    """Pick small files of about one size, if there are enough of them, and all that are smaller still.

    A file joins smaller ones when it is at most twice as large as all of them together, so each merge that rewrites a
    row puts it into a file half as large again at least: a row is rewritten a few times, however long the table grows.
    """
    chosen: list[DataFile] = []
    total = alike = 0
    small = (f for f in state.files if f.size < SMALL_BYTES)
    for file in sorted(small, key=lambda f: (f.size, f.path)):
        if file.size > max(_ALIKE * total, _TRIFLE_BYTES):
            if alike >= GATHER_FILES:
                break
            alike = 0
        chosen.append(file)
        total += file.size
        alike += 1
    return chosen[:_MERGE_FILES] if alike >= GATHER_FILES else []


def _rewrite(
    log: DeltaLog, old: list[DataFile], rows: Iterator[pa.Table], *, same_rows: bool
) -> list[DataFile] | None:
    written = write_files(log.folder, log.table, rows)
    if same_rows and sum(f.rows for f in written) != sum(f.rows for f in old):
        raise AssertionError("a merge must neither lose nor add rows")
    if log.commit(written, removes=old, same_rows=same_rows):
        return written
    for file in written:
        log.folder.remove(file.path)
    return None


class _Kept:
    """The rows of one file that a predicate does not match."""

    def __init__(self, log: DeltaLog, file: DataFile, predicate: Predicate) -> None:
        self._reader, self._groups = open_file(log.folder, file, log.table, verify=True)
        self._predicate = predicate

    def finds_any(self) -> bool:
        columns = frozenset(self._predicate.columns)
        for group, bounds in enumerate(self._groups):
            if self._predicate.may_hold(bounds):
                rows = self._reader.read_row_group(group, columns=list(columns))
                if self._predicate.mask(rows, columns).any():
                    return True
        return False

    def rows(self) -> Iterator[pa.Table]:
        columns = frozenset(self._predicate.columns)
        for group in range(len(self._groups)):
            rows = self._reader.read_row_group(group)
            yield rows.filter(arrow_of(~self._predicate.mask(rows, columns)))


class _Cursor:
    """A sorted file, read slice by slice.

    `first` and `last` are the keys of the first and last row held; `first` is None at the end.
    """

    def __init__(self, reader: pq.ParquetFile, table: Table, rows: int) -> None:
        self._slices = reader.iter_batches(batch_size=rows)
        self._sort = table.sort
        self._advance()

    def take(self, upto: tuple[Any, ...]) -> pa.Table:
        """Give up the rows of the slice whose key is at most `upto`."""
        place = bisect_right(range(self._held.num_rows), upto, key=self._key)
        out = self._held.slice(0, place)
        if place == self._held.num_rows:
            self._advance()
        else:
            self._hold(self._held.slice(place))
        return out

    def _advance(self) -> None:
        batch = next(self._slices, None)
        while batch is not None and not batch.num_rows:
            batch = next(self._slices, None)
        if batch is None:
            self.first: tuple[Any, ...] | None = None
        else:
            self._hold(pa.Table.from_batches([batch]))

    def _hold(self, rows: pa.Table) -> None:
        self._held = rows
        self._keys = [rows.column(c) for c in self._sort]
        self.first, self.last = self._key(0), self._key(rows.num_rows - 1)

    def _key(self, row: int) -> tuple[Any, ...]:
        scalars = (column[row] for column in self._keys)
        return tuple(s.value if isinstance(s, pa.TimestampScalar) else s.as_py() for s in scalars)


def _merged(log: DeltaLog, files: list[DataFile]) -> Iterator[pa.Table]:
    """Yield the rows of sorted files in one order, a row group at a time."""
    share = max(1024, _MERGE_ROWS // len(files))
    readers = [open_file(log.folder, f, log.table, verify=True)[0] for f in files]
    cursors = [_Cursor(reader, log.table, share) for reader in readers]
    held: list[pa.Table] = []
    size = group_rows(log.table)
    while cursors := [c for c in cursors if c.first is not None]:
        upto = min(c.last for c in cursors)
        parts = [c.take(upto) for c in cursors if c.first is not None and c.first <= upto]
        held.append(sort_rows(pa.concat_tables(parts), log.table.sort))
        if sum(part.num_rows for part in held) >= size:
            rows = pa.concat_tables(held).unify_dictionaries()
            whole = rows.num_rows // size * size
            yield rows.slice(0, whole)
            held = [rows.slice(whole)]
    if held:
        yield pa.concat_tables(held).unify_dictionaries()


def _free(log: DeltaLog, keep_hours: float) -> int:
    """Delete files that no version younger than `keep_hours` has, and what killed writers left behind."""
    live = {f.path for f in log.state().files}
    removed = log.tombstones()
    now, freed = time.time(), 0
    for name, written in log.folder.names():
        if name in live or name.startswith("_") or not name.endswith(".parquet"):
            continue
        hours = keep_hours if name in removed else max(keep_hours, _ORPHAN_HOURS)
        if now - removed.get(name, written) >= hours * 3600:
            freed += log.folder.remove(name)  # unless somebody else frees at the same time
    return freed
