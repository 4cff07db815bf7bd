"""Between Python, numpy and Arrow, by buffers.

`pa.array`, `pa.scalar`, `to_numpy` and `empty_table` all look whether they were given something of pandas, and import
it to find out: half a second, paid by the first question of a process. Buffers do not ask.
"""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["arrow_of", "batch_of", "empty", "indices", "numbers"]

_FEW = 32  # values


def arrow_of(values: Sequence[Any]) -> pa.Array:
    """Return integers (and booleans), floats or texts, each with None among them, as int64, float64 or string."""
    if len(values) <= _FEW and (found := _few(values)) is not None:
        return found
    known = np.fromiter((v is not None for v in values), dtype=bool, count=len(values))
    some = values if known.all() else [v for v in values if v is not None]
    if not some:
        return pa.nulls(len(values))
    validity = None if len(some) == len(values) else _bits(known)
    if isinstance(some[0], str):
        return _texts([b"" if v is None else v.encode() for v in values], validity)
    floats = any(isinstance(v, float) for v in some)
    kind, arrow = (np.float64, pa.float64()) if floats else (np.int64, pa.int64())
    plain = np.zeros(len(values), dtype=kind)
    plain[known] = np.array(some, dtype=kind)
    return pa.Array.from_buffers(arrow, len(values), [validity, pa.py_buffer(plain)])


def _few(values: Sequence[Any]) -> pa.Array | None:
    """Do the same without numpy, which takes longer than SQLite for a row; None if it is not that simple."""
    kinds = {type(v) for v in values}
    if len(kinds) != 1:
        return None
    [kind] = kinds
    if kind is str:
        encoded = [v.encode() for v in values]
        ends = array("i", accumulate(map(len, encoded), initial=0))
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
        return pa.Array.from_buffers(pa.string(), len(values), buffers)
    if kind in (int, bool):
        return pa.Array.from_buffers(
            pa.int64(), len(values), [None, pa.py_buffer(array("q", values))]
        )
    if kind is float:
        return pa.Array.from_buffers(
            pa.float64(), len(values), [None, pa.py_buffer(array("d", values))]
        )
    return pa.nulls(len(values)) if kind is type(None) else None


def _bits(known: np.ndarray[Any, Any]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(known, bitorder="little"))


def _texts(encoded: list[bytes], validity: pa.Buffer | None) -> pa.Array:
    ends = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(e) for e in encoded], out=ends[1:])
    if ends[-1] >= 1 << 31:
        raise OverflowError("more than 2 GB of text at once")
    buffers = [validity, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def batch_of(rows: Sequence[Sequence[Any]]) -> pa.RecordBatch | None:
    """Return rows of parameters as a batch; None if there are no parameters."""
    if not rows or not rows[0]:
        return None
    columns = [arrow_of(column) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=[str(n) for n in range(len(columns))])


def indices(ranks: np.ndarray[Any, Any]) -> pa.Array:
    """Return integers for `take`."""
    plain = np.ascontiguousarray(ranks, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(plain), [None, pa.py_buffer(plain)])


def numbers(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return a column of integers or floats without nulls, as int64 or float64."""
    kind = np.float64 if pa.types.is_floating(column.type) else np.int64
    parts = [
        np.frombuffer(c.buffers()[1], dtype=kind, count=len(c), offset=8 * c.offset)
        for c in column.chunks
        if len(c)
    ]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)


def empty(schema: pa.Schema) -> pa.Table:
    """Return a table without rows."""
    return pa.Table.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
