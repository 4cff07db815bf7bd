"""Journal rows as Arrow tables. The read path only: loads pyarrow and NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlrun.journal.segment import COLUMNS
from mlrun.tables import LOGS, TABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from numpy.typing import NDArray

    from mlrun.journal.mapped import MappedSegment

__all__ = ["PointTable", "text_table"]

_DTYPES = {"I": np.uint32, "q": np.int64, "d": np.float64}
_RUN, _KEY, _STEP, _TIME, _VALUE = range(5)


class _Words:
    """Distinct texts of one column, numbered in the order of their first use."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def id(self, text: str) -> int:
        return self._ids.setdefault(text, len(self._ids))

    def array(self) -> pa.Array:
        return _strings([_valid(text) for text in self._ids])


def _valid(text: str) -> str:
    """Arrow text is UTF-8, which has no form for lone surrogates."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


class PointTable:
    """Collects the matching rows of segments; the dictionaries of all of them become one."""

    def __init__(
        self, table: str, run_ids: Collection[str] | None, keys: Collection[str] | None
    ) -> None:
        self._table = table
        self._run_ids = None if run_ids is None else set(run_ids)
        self._keys = None if keys is None else set(keys)
        self._words = {name: _Words() for name in ("project", "run_id", "key", "writer")}
        self._chunks: dict[str, list[NDArray[Any]]] = {
            c.name: [] for c in TABLES[self._table].columns
        }

    def add(self, writer: str, seg: MappedSegment, first: int) -> int:
        """Take the matching rows from row `first` on; returns how many have ids without a name."""
        names = seg.names
        runs = {i: r for i, r in names.runs.items() if self._wants_run(r)}
        keys = {i: k for i, k in names.keys.items() if self._keys is None or k in self._keys}
        if not runs or not keys:
            return 0
        columns = [_numpy(seg, i)[first:] for i in range(len(COLUMNS))]
        known_runs, known_keys = _known(names.runs), _known(names.keys)
        strange = ~(_take(known_runs, columns[_RUN]) & _take(known_keys, columns[_KEY]))
        # a row without both ids was left out on purpose, by a gateway: see `app.ingest_guard`
        wrong = int(np.count_nonzero(strange & ((columns[_RUN] != 0) | (columns[_KEY] != 0))))
        everything = len(runs) == len(names.runs) and len(keys) == len(names.keys)
        rows = np.arange(first, seg.rows, dtype=np.int64)
        if not everything or strange.any() or seg.bad:
            keep = _take(_known(runs), columns[_RUN]) & _take(_known(keys), columns[_KEY])
            for start, end in seg.bad:
                keep[max(0, start - first) : max(0, end - first)] = False
            chosen = np.flatnonzero(keep)
            columns = [c[chosen] for c in columns]
            rows = rows[chosen]
        if len(rows):
            self._put(writer, seg.number, runs, keys, columns, rows)
        return wrong

    def _wants_run(self, run: tuple[str, str, str]) -> bool:
        return run[0] == self._table and (self._run_ids is None or run[2] in self._run_ids)

    def _put(
        self,
        writer: str,
        number: int,
        runs: dict[int, tuple[str, str, str]],
        keys: dict[int, str],
        columns: list[NDArray[Any]],
        rows: NDArray[np.int64],
    ) -> None:
        words, put = self._words, self._chunks
        projects = {i: words["project"].id(r[1]) for i, r in runs.items()}
        ids = {i: words["run_id"].id(r[2]) for i, r in runs.items()}
        named = {i: words["key"].id(k) for i, k in keys.items()}
        put["project"].append(_take(_lut(projects), columns[_RUN]))
        put["run_id"].append(_take(_lut(ids), columns[_RUN]))
        put["key"].append(_take(_lut(named), columns[_KEY]))
        put["step"].append(columns[_STEP])
        put["time"].append(columns[_TIME])
        put["value"].append(columns[_VALUE])
        put["writer"].append(np.full(len(rows), words["writer"].id(writer), np.int32))
        put["seq"].append(rows | (number << 32))

    def table(self) -> pa.Table:
        """Return everything taken, one chunk per segment."""
        arrays, fields = [], []
        for name, kind in zip(self._chunks, TABLES[self._table].schema.types, strict=True):
            array = self._column(name, kind)
            arrays.append(array)
            fields.append(pa.field(name, array.type, nullable=False))
        return pa.table(arrays, schema=pa.schema(fields))

    def _column(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        chunks = self._chunks[name]
        if name in self._words:
            words = self._words[name].array()
            coded = [pa.DictionaryArray.from_arrays(_fixed(c, pa.int32()), words) for c in chunks]
            return pa.chunked_array(coded, pa.dictionary(pa.int32(), pa.string()))
        return pa.chunked_array([_fixed(c, kind) for c in chunks], kind)


# pa.array() looks whether it was given something of pandas, which loads pandas (0.3 s) where it is installed


def _fixed(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Wrap numbers that are already in Arrow's layout; no copy."""
    packed = np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(packed), [None, pa.py_buffer(packed)])


def _strings(texts: list[str]) -> pa.Array:
    data = [text.encode() for text in texts]
    ends = np.zeros(len(data) + 1, np.int32)
    np.cumsum([len(d) for d in data], out=ends[1:])
    return pa.StringArray.from_buffers(len(data), pa.py_buffer(ends), pa.py_buffer(b"".join(data)))


def _numpy(seg: MappedSegment, index: int) -> NDArray[Any]:
    buffer, at = seg.column(index)
    return np.frombuffer(buffer, _DTYPES[COLUMNS[index][1]], seg.rows, at)


def _known(names: dict[int, Any]) -> NDArray[np.bool_]:
    """One flag per id, and a false one at the end for ids out of range."""
    flags = np.zeros(max(names, default=0) + 2, np.bool_)
    flags[list(names)] = True
    return flags


def _lut(ids: dict[int, int]) -> NDArray[np.int32]:
    table = np.zeros(max(ids) + 1, np.int32)
    table[list(ids)] = list(ids.values())
    return table


def _take(lut: NDArray[Any], ids: NDArray[Any]) -> NDArray[Any]:
    taken: NDArray[Any] = np.take(lut, ids, mode="clip")
    return taken


def text_table(lines: Iterable[tuple[str, str, int, str, str, str, int]]) -> pa.Table:
    """Build a table of LOGS from tuples in its column order."""
    columns = list(zip(*lines, strict=True)) or [()] * len(LOGS.columns)
    arrays = []
    for column, values, kind in zip(LOGS.columns, columns, LOGS.schema.types, strict=True):
        if column.type == "string":
            arrays.append(_strings([_valid(str(v)) for v in values]))
        else:
            arrays.append(_fixed(np.array(values, np.int64), kind))
    return pa.table(arrays, schema=LOGS.schema)
