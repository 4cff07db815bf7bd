"""Read rows of parquet files that match a filter: whole files, then row groups, then rows are left out."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlrun.arrowmemory import arrow_of, numpy_of
from mlrun.errors import CorruptStore, QueryError, SnapshotExpired

from .delta_files import Bounds, DataFile, group_bounds, stats_columns
from .delta_sift import sifted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from numpy.typing import NDArray

    from mlrun.contracts import PointFilter
    from mlrun.tables import Table

    from .delta_folder import TableFolder

__all__ = ["Predicate", "open_file", "scan_files"]

_BATCH_ROWS = 1 << 20  # rows decoded at once
_FEW_ROWS = 50_000
_SIFTED_ROWS = (
    200_000  # so many rows of which some may match are left to a reader that decodes fewer
)
_FOOTERS = 512  # files are immutable, so their footers are kept


@dataclass(frozen=True)
class Predicate:
    """A `PointFilter` in terms of a table's columns.

    `members` maps columns to the values allowed, sorted (text as UTF-8 bytes); `at_least` and `at_most` bound columns.
    The steps or times of a row that spans some (a rollup) match when they overlap the bounds.
    """

    members: dict[str, list[Any]]
    at_least: dict[str, int]
    at_most: dict[str, int]

    @classmethod
    def of(cls, where: PointFilter, table: Table) -> Predicate:
        """Translate; QueryError when the table has no such column."""
        members: dict[str, list[Any]] = {}
        asked = (("run_id", where.run_ids), ("key", where.keys), ("level", where.levels))
        for column, values in asked:
            if values is not None:
                plain = {
                    v.encode("utf-8", "surrogatepass") if isinstance(v, str) else v for v in values
                }
                members[column] = sorted(plain)
        at_least, at_most = {}, {}
        for kind, (low, high) in (("step", where.steps), ("time", where.times)):
            single = kind in table.names
            if low is not None:
                at_least[kind if single else f"last_{kind}"] = low
            if high is not None:
                at_most[kind if single else f"first_{kind}"] = high
        for column in (*members, *at_least, *at_most):
            if column not in table.names:
                raise QueryError(f"table {table.name!r} has no column {column!r} to filter by")
        return cls(members, at_least, at_most)

    @property
    def columns(self) -> list[str]:
        """The columns that it looks at."""
        return list({**self.members, **self.at_least, **self.at_most})

    def may_hold(self, bounds: Bounds) -> bool:
        """Whether rows within these bounds may match."""
        for column, values in self.members.items():
            if column not in bounds:
                continue
            low, high = bounds[column]
            place = bisect_left(values, low)
            if place == len(values) or values[place] > high:
                return False
        return all(
            bounds[c][1] >= limit for c, limit in self.at_least.items() if c in bounds
        ) and all(bounds[c][0] <= limit for c, limit in self.at_most.items() if c in bounds)

    def undecided(self, bounds: Bounds) -> frozenset[str]:
        """Return the columns of which some rows within these bounds may match and others not."""
        out = set()
        for column, values in self.members.items():
            low, high = bounds.get(column, (0, 1))
            if low != high or low not in values:
                out.add(column)
        out |= {c for c, limit in self.at_least.items() if c not in bounds or bounds[c][0] < limit}
        out |= {c for c, limit in self.at_most.items() if c not in bounds or bounds[c][1] > limit}
        return frozenset(out)

    def mask(self, rows: pa.Table, undecided: frozenset[str]) -> NDArray[np.bool_]:
        """Return which rows match, looking at the undecided columns only."""
        keep = np.ones(rows.num_rows, np.bool_)
        for column in undecided:
            if column in self.members:
                keep &= _is_in(rows.column(column), self.members[column])
            else:
                values = numpy_of(rows.column(column))
                if column in self.at_least:
                    keep &= values >= self.at_least[column]
                if column in self.at_most:
                    keep &= values <= self.at_most[column]
        return keep


def _is_in(column: pa.ChunkedArray, values: list[Any]) -> NDArray[np.bool_]:
    if not pa.types.is_dictionary(column.type):
        found = numpy_of(column)
        return np.asarray(found == values[0] if len(values) == 1 else np.isin(found, values))
    parts = [np.zeros(0, np.bool_)]
    for chunk in column.chunks:
        words = chunk.dictionary.cast(pa.binary())
        wanted = pc.is_in(words, value_set=pa.array(values, pa.binary()))
        parts.append(numpy_of(wanted)[numpy_of(chunk.indices)])
    return np.concatenate(parts)


def scan_files(
    folder: TableFolder,
    files: Sequence[DataFile],
    table: Table,
    where: Predicate,
    columns: Sequence[str],
) -> Iterator[pa.Table]:
    """Yield matching rows, file by file in the files' order, with `columns` in the table's types.

    All files are opened before the first row is yielded, so that freeing them later does no harm.

    Raises:
        SnapshotExpired: a file is gone: it was freed after the snapshot had been pinned.
        CorruptStore: a file cannot be read.
    """
    wanted = [f for f in files if where.may_hold(f.bounds)]
    opened = [(f, *open_file(folder, f, table)) for f in wanted]
    sieved = [_for_sifting(folder, *one, where) for one in opened]
    for (file, reader, groups), handle in zip(opened, sieved, strict=True):
        try:
            found = None
            if handle is not None:
                with handle:
                    found = sifted(handle, where, columns)
            if found is not None:
                yield found.cast(pa.schema([table.schema.field(c) for c in columns]))
            else:
                yield from _scan_file(reader, groups, table, where, columns)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(table, file, error) from error
        finally:
            reader.close()


def _for_sifting(
    folder: TableFolder,
    file: DataFile,
    reader: pq.ParquetFile,
    groups: list[Bounds],
    where: Predicate,
) -> IO[bytes] | None:
    """Open a file of this host once more if many of its rows have to be told apart by more than their bounds."""
    if folder.options is not None or not where.members:
        return None
    doubtful = (g for g, bounds in enumerate(groups) if where.may_hold(bounds))
    doubtful = (g for g in doubtful if where.undecided(groups[g]))
    rows = sum(reader.metadata.row_group(g).num_rows for g in doubtful)
    return open(folder.location(file.path), "rb") if rows > _SIFTED_ROWS else None


def _scan_file(
    reader: pq.ParquetFile,
    groups: list[Bounds],
    table: Table,
    where: Predicate,
    columns: Sequence[str],
) -> Iterator[pa.Table]:
    schema = pa.schema([table.schema.field(c) for c in columns])
    wanted = [g for g, bounds in enumerate(groups) if where.may_hold(bounds)]
    while wanted:
        undecided = where.undecided(groups[wanted[0]])
        batch, rows = [], 0
        while wanted and rows < _BATCH_ROWS and where.undecided(groups[wanted[0]]) == undecided:
            batch.append(wanted.pop(0))
            rows += reader.metadata.row_group(batch[-1]).num_rows
        needed = [*columns, *(undecided - set(columns))]
        # handing a few rows to other threads takes longer than decoding them
        found = reader.read_row_groups(batch, columns=needed, use_threads=rows > _FEW_ROWS)
        if undecided:
            keep = where.mask(found, undecided)
            if not keep.all():
                found = found.filter(arrow_of(keep))
        if found.num_rows:
            yield found.select(list(columns)).cast(schema)


_footers: OrderedDict[str, tuple[Any, list[Bounds]]] = OrderedDict()
_footers_lock = threading.Lock()


def open_file(
    folder: TableFolder, file: DataFile, table: Table, *, verify: bool = False
) -> tuple[pq.ParquetFile, list[Bounds]]:
    """Open a file; returns it with the bounds of its row groups. `verify` checks pages when they are read."""
    path = folder.location(file.path)
    with _footers_lock:
        known = _footers.get(path)
        if known is not None:
            _footers.move_to_end(path)
    text = [c.name for c in table.columns if c.type in {"string", "json"}]
    try:
        reader = pq.ParquetFile(
            folder.parquet(file.path, file.size),
            metadata=known[0] if known else None,
            read_dictionary=text,
            page_checksum_verification=verify,
            # it holds the bytes of all row groups until the file is closed, but asks a network for few ranges
            pre_buffer=folder.options is not None,
        )
        if known is None:
            columns = stats_columns(table)
            count = reader.metadata.num_row_groups
            known = (
                reader.metadata,
                [group_bounds(reader.metadata, g, columns) for g in range(count)],
            )
    except FileNotFoundError as error:
        raise SnapshotExpired(
            f"table {table.name!r}: a file of this snapshot has been freed by compaction; ask again"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise unreadable(table, file, error) from error
    with _footers_lock:
        _footers[path] = known
        while len(_footers) > _FOOTERS:
            _footers.popitem(last=False)
    return reader, known[1]


def unreadable(table: Table, file: DataFile, error: Exception) -> CorruptStore:
    """Return the error that names a damaged file and what it held."""
    why = " ".join(str(error).split())  # some libraries' errors have lines of their own
    return CorruptStore(
        f"table {table.name!r}: {file.path} with {file.rows:,} rows cannot be read ({why}); "
        "`mlrun doctor --repair` makes the rest readable"
    )
