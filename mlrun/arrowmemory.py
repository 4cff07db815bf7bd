"""NumPy and Arrow arrays from each other's memory.

pyarrow's own conversions look whether pandas is at hand, which loads it (0.3 s) wherever it is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["arrow_of", "empty_table", "numpy_of", "valid_of"]


def numpy_of(column: Any) -> NDArray[Any]:
    """Return the values of an array or chunked array: integers, floats, booleans; times as integers.

    One chunk is not copied. What stands where a value is null means nothing, see `valid_of`.
    """
    parts = [
        _values(c) for c in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    ]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.zeros(0, _dtype(column.type)), *parts])


def valid_of(column: Any) -> NDArray[np.bool_]:
    """Return which values of an array or chunked array are there."""
    parts = []
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        bits = chunk.buffers()[0] if chunk.null_count else None
        parts.append(np.ones(len(chunk), np.bool_) if bits is None else _bits(bits, chunk))
    return np.concatenate([np.zeros(0, np.bool_), *parts])


def arrow_of(
    values: NDArray[Any],
    kind: pa.DataType | None = None,
    *,
    missing: NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Return an Arrow array over the memory of some values (booleans are packed).

    Args:
        values: numbers or booleans.
        kind: an Arrow type of the same width; default that of the values.
        missing: which are null; None for none.
    """
    if values.dtype == np.bool_:
        data, kind = pa.py_buffer(np.packbits(values, bitorder="little")), pa.bool_()
    else:
        data, kind = (
            pa.py_buffer(np.ascontiguousarray(values)),
            kind or pa.from_numpy_dtype(values.dtype),
        )
    valid = None
    if missing is not None and missing.any():
        valid = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, data])


def empty_table(schema: pa.Schema) -> pa.Table:
    """Return a table without rows."""
    return pa.Table.from_batches([], schema)


def _values(array: pa.Array) -> NDArray[Any]:
    data = array.buffers()[1]
    if pa.types.is_boolean(array.type):
        return _bits(data, array) if data is not None else np.zeros(len(array), np.bool_)
    dtype = _dtype(array.type)
    if data is None or not len(array):
        return np.zeros(len(array), dtype)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)


def _bits(data: pa.Buffer, array: pa.Array) -> NDArray[np.bool_]:
    first, rows = array.offset, len(array)
    octets = np.frombuffer(data, np.uint8)
    return np.unpackbits(octets, count=first + rows, bitorder="little")[first:].astype(np.bool_)


def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    if pa.types.is_timestamp(kind):
        return np.dtype(np.int64)
    found: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return found
