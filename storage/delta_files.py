"""Parquet files of a Delta table: how they are written, small and sorted, and what the log says of each.

Points cost about ten bytes: text by dictionary, steps, times and sequence numbers as differences, values split by byte
position and compressed. Row groups are small enough that a chart's edges cost milliseconds. Pages carry checksums.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlrun.errors import SchemaMismatch, StoreError
from mlrun.ids import uuid7
from mlrun.tables import conform

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrun.tables import Table

    from .delta_folder import TableFolder

__all__ = [
    "FILE_BYTES",
    "DataFile",
    "bounds_of",
    "conformed",
    "group_bounds",
    "group_rows",
    "stats_columns",
    "write_files",
]

_GROUP_ROWS = {"metrics_rollups": 2048}  # wide rows, of which a chart wants few
FILE_BYTES = 128 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODING = {
    "int64": "DELTA_BINARY_PACKED",
    "timestamp": "DELTA_BINARY_PACKED",
    "float64": "BYTE_STREAM_SPLIT",
}

# Least and greatest value of a column: text as UTF-8 bytes, times as int microseconds. A column that is left out may
# hold anything.
Bounds = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class DataFile:
    """One file of a snapshot, as the log tells it: name in the table's folder, size in bytes, rows, bounds."""

    path: str
    size: int
    rows: int
    bounds: Bounds = field(default_factory=dict, compare=False)

    @property
    def stats(self) -> str:
        """The statistics as the Delta log holds them."""
        low, high = ({c: _told(b[side]) for c, b in self.bounds.items()} for side in (0, 1))
        times = [c for c, b in self.bounds.items() if isinstance(b[0], int) and c.endswith("time")]
        for name in times:
            low[name], high[name] = (_instant(self.bounds[name][side]) for side in (0, 1))
        stats = {
            "numRecords": self.rows,
            "minValues": low,
            "maxValues": high,
            "nullCount": dict.fromkeys(self.bounds, 0),
        }
        # not escaped: deltalake reads the escapes of characters beyond U+1FFFF as other characters
        return json.dumps(stats, ensure_ascii=False)


def stats_columns(table: Table) -> list[str]:
    """Columns whose bounds the log keeps: those by which rows are sorted or filtered."""
    filtered = {"level", "step", "first_step", "last_step", "time", "first_time", "last_time"}
    return [c.name for c in table.columns if not c.nullable and (c.name in table.sort or c.name in filtered)
            and c.name != "seq"]  # fmt: skip


def group_rows(table: Table) -> int:
    """Return how many rows a row group of this table has."""
    return _GROUP_ROWS.get(table.name, 65_536)


def conformed(data: Any, table: Table) -> pa.Table:
    """Cast to the table's columns as `mlrun.tables.conform` does, but leave text that is dictionary-encoded so."""
    arrow = data if isinstance(data, pa.Table) else pa.table(data)
    conform(arrow.slice(0, 0), table)  # names the columns that are missing or unknown
    out = []
    for wanted in table.schema:
        if wanted.name not in arrow.column_names:
            out.append(pa.nulls(arrow.num_rows, wanted.type))
            continue
        column = arrow.column(wanted.name)
        kind = wanted.type
        if pa.types.is_dictionary(column.type) and pa.types.is_string(kind):
            kind = pa.dictionary(pa.int32(), kind)
        try:
            column = column.cast(kind) if column.type != kind else column
        except pa.ArrowInvalid as error:
            raise SchemaMismatch.of(table.name, why=f"column {wanted.name!r}: {error}") from error
        if not wanted.nullable and column.null_count:
            raise SchemaMismatch.of(table.name, why=f"column {wanted.name!r} holds nulls")
        out.append(column)
    fields = [pa.field(f.name, c.type, f.nullable) for f, c in zip(table.schema, out, strict=True)]
    return pa.table(out, schema=pa.schema(fields))


def write_files(folder: TableFolder, table: Table, parts: Iterable[pa.Table]) -> list[DataFile]:
    """Write sorted rows into new files, each at most a little over FILE_BYTES, durably.

    Nothing of it counts before it is committed. If this raises, no file is left.
    """
    done: list[DataFile] = []
    current: _Writer | None = None
    size = group_rows(table)
    try:
        for part in parts:
            for start in range(0, part.num_rows, size):
                current = current or _Writer(folder, table)
                current.write(part.slice(start, size))
                if current.size() >= FILE_BYTES:
                    done.append(current.close())
                    current = None
        if current is not None:
            done.append(current.close())
    except BaseException as error:
        if current is not None:
            current.abandon()
        for file in done:
            folder.remove(file.path)
        if isinstance(error, OSError):
            raise StoreError(f"cannot write to {folder.uri}: {error}") from error
        raise
    if done:
        folder.sync()
    return done


class _Writer:
    def __init__(self, folder: TableFolder, table: Table) -> None:
        self._folder = folder
        self._name = f"{uuid7()}.parquet"
        self._draft = folder.draft(self._name)
        self._table = table
        self._metadata: list[pq.FileMetaData] = []
        self._sink = pa.OSFile(str(self._draft), "wb")
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.Table) -> None:
        if self._writer is None:
            text = [c.name for c in self._table.columns if c.type in {"string", "json"}]
            encoding = {
                c.name: _ENCODING[c.type] for c in self._table.columns if c.type in _ENCODING
            }
            self._writer = pq.ParquetWriter(
                self._sink, rows.schema, compression="zstd", compression_level=1,
                use_dictionary=text, column_encoding=encoding, store_schema=False,
                write_page_checksum=True, metadata_collector=self._metadata,
            )  # fmt: skip
        self._writer.write_table(rows.cast(self._writer.schema), row_group_size=rows.num_rows)

    def size(self) -> int:
        return int(self._sink.tell())

    def close(self) -> DataFile:
        assert self._writer is not None
        self._writer.close()
        self._sink.close()
        size = self._folder.publish(self._name, self._draft)
        metadata = self._metadata[0]
        bounds = bounds_of(metadata, stats_columns(self._table))
        return DataFile(self._name, size, metadata.num_rows, bounds)

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.is_open = False  # else it writes a footer when it is collected
        self._sink.close()
        self._folder.discard(self._draft)


def group_bounds(metadata: pq.FileMetaData, group: int, columns: Iterable[str]) -> Bounds:
    """Return the bounds of one row group of a parquet file, from its footer."""
    index = {metadata.schema.column(i).name: i for i in range(metadata.num_columns)}
    out: Bounds = {}
    for name in columns:
        stats = metadata.row_group(group).column(index[name]).statistics
        if stats is not None and stats.has_min_max and not stats.null_count:
            out[name] = stats.min_raw, stats.max_raw
    return out


def bounds_of(metadata: pq.FileMetaData, columns: Iterable[str]) -> Bounds:
    """Return the bounds of a whole parquet file."""
    out: Bounds = {}
    groups = [group_bounds(metadata, g, columns) for g in range(metadata.num_row_groups)]
    for name in groups[0] if groups else ():
        if all(name in g for g in groups):
            out[name] = min(g[name][0] for g in groups), max(g[name][1] for g in groups)
    return out


def _told(value: Any) -> Any:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _instant(value: int) -> str:
    at = _EPOCH + timedelta(microseconds=value)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
