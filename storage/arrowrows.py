"""A few rows from and for a driver that speaks Arrow, without pyarrow: 30 ms of imports less where a run begins.

The structures are those of Arrow's C data interface, by ctypes. What comes is read into Python values at once; what is
sent is one row of parameters, whose memory is Python's and lives as long as the `Row`.
"""

from __future__ import annotations

import ctypes
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Row", "StreamError", "read_rows"]

_NULLABLE = 2  # flag of a field
_NUMBERS: dict[str, Any] = {
    "c": ctypes.c_int8,
    "s": ctypes.c_int16,
    "i": ctypes.c_int32,
    "l": ctypes.c_int64,
    "f": ctypes.c_float,
    "g": ctypes.c_double,
}
_TEXTS: dict[str, Any] = {"u": ctypes.c_int32, "U": ctypes.c_int64}


class StreamError(Exception):
    """The driver failed while it gave rows; its words."""


class _Schema(ctypes.Structure):
    """ArrowSchema."""


class _Array(ctypes.Structure):
    """ArrowArray."""


class _Stream(ctypes.Structure):
    """ArrowArrayStream."""


_SchemaRelease = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))
_ArrayRelease = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))
_StreamRelease = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))
_GetSchema = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))
_GetNext = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))
_GetError = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(_Stream))

_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    ("get_schema", _GetSchema),
    ("get_next", _GetNext),
    ("get_last_error", _GetError),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


# -- reading ---------------------------------------------------------------------------------------


def read_rows(address: int) -> list[tuple[Any, ...]]:
    """Read a stream of record batches to its end, and release it.

    Args:
        address: of an ArrowArrayStream with columns of text, numbers, truth values and times (as int).

    Raises:
        StreamError: the driver failed.
        TypeError: a column is of another type.
    """
    stream = _Stream.from_address(address)
    schema = _Schema()
    rows: list[tuple[Any, ...]] = []
    try:
        _check(stream, stream.get_schema(stream, schema))
        try:
            kinds = [schema.children[n].contents.format.decode() for n in range(schema.n_children)]
        finally:
            _SchemaRelease(schema.release)(schema)
        while True:
            batch = _Array()
            _check(stream, stream.get_next(stream, batch))
            if not batch.release:
                return rows
            try:
                columns = [_values(batch, n, kind) for n, kind in enumerate(kinds)]
                rows += zip(*columns, strict=True)
            finally:
                _ArrayRelease(batch.release)(batch)
    finally:
        if stream.release:
            _StreamRelease(stream.release)(stream)


def _check(stream: _Stream, code: int) -> None:
    if code:
        told = stream.get_last_error(stream)
        raise StreamError(told.decode("utf-8", "replace") if told else f"error {code}")


def _values(batch: _Array, column: int, kind: str) -> list[Any]:
    array = batch.children[column].contents
    start, count = batch.offset + array.offset, batch.length
    if not count or kind == "n":
        return [None] * count
    if kind in _TEXTS:
        found = _texts(array, start, count, _TEXTS[kind])
    elif kind == "b":
        found = list(_bits(array.buffers[1], start, count))
    else:
        number = _NUMBERS.get(kind) or (ctypes.c_int64 if kind.startswith(("ts", "tD")) else None)
        if number is None:
            raise TypeError(f"a column of Arrow's type {kind!r} cannot be read here")
        place = array.buffers[1] + start * ctypes.sizeof(number)
        found = list((number * count).from_address(place))
    if array.null_count and array.buffers[0]:
        there = _bits(array.buffers[0], start, count)
        found = [value if is_there else None for value, is_there in zip(found, there, strict=True)]
    return found


def _texts(array: _Array, start: int, count: int, number: Any) -> list[Any]:
    place = array.buffers[1] + start * ctypes.sizeof(number)
    edges = list((number * (count + 1)).from_address(place))
    base = array.buffers[2]
    data = ctypes.string_at(base + edges[0], edges[-1] - edges[0]) if base else b""
    first = edges[0]
    return [data[low - first : high - first].decode("utf-8") for low, high in pairwise(edges)]


def _bits(place: int, start: int, count: int) -> Iterator[bool]:
    packed = ctypes.string_at(place, (start + count + 7) // 8)
    return (bool(packed[n >> 3] >> (n & 7) & 1) for n in range(start, start + count))


# -- sending ---------------------------------------------------------------------------------------


def _release(structure: Any) -> None:
    structure.contents.release = None  # the memory is Python's


_release_schema = _SchemaRelease(_release)
_release_array = _ArrayRelease(_release)


class Row:
    """One row of values: text, int, float, bool or None; it must live until the driver is done with it."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._kept: list[Any] = []
        arrays, schemas = [], []
        for number, value in enumerate(values):
            kind, buffers = self._column(value)
            arrays.append(self._array(1, buffers, nulls=value is None))
            schemas.append(self._schema(kind, str(number)))
        self._array_of_all = self._array(1, [None], arrays)
        self._schema_of_all = self._schema("+s", "", schemas)

    def move_to(self, array: int, schema: int) -> None:
        """Copy the structures to where the driver takes them from; these addresses own them then."""
        for target, made in ((array, self._array_of_all), (schema, self._schema_of_all)):
            ctypes.memmove(target, ctypes.addressof(made), ctypes.sizeof(made))

    def _column(self, value: Any) -> tuple[str, list[Any]]:
        if isinstance(value, bool):
            return "b", [None, ctypes.c_uint8(value)]
        if isinstance(value, int):
            if not -(1 << 63) <= value < 1 << 63:
                raise OverflowError(f"{value} has more than 64 bits")
            return "l", [None, ctypes.c_int64(value)]
        if isinstance(value, float):
            return "g", [None, ctypes.c_double(value)]
        data = b"" if value is None else str(value).encode("utf-8")
        edges = (ctypes.c_int32 * 2)(0, len(data))
        missing = ctypes.c_uint8(0) if value is None else None
        return "u", [missing, edges, ctypes.create_string_buffer(data, len(data) + 1)]

    def _array(
        self, length: int, buffers: list[Any], children: Sequence[Any] = (), *, nulls: bool = False
    ) -> _Array:
        places = (ctypes.c_void_p * len(buffers))(
            *(None if b is None else ctypes.addressof(b) for b in buffers)
        )
        made = (ctypes.POINTER(_Array) * len(children))(*(ctypes.pointer(c) for c in children))
        self._kept += [buffers, places, made, children]
        return _Array(
            length=length,
            null_count=int(nulls),
            n_buffers=len(buffers),
            n_children=len(children),
            buffers=places,
            children=made,
            release=ctypes.cast(_release_array, ctypes.c_void_p),
        )

    def _schema(self, kind: str, name: str, children: Sequence[Any] = ()) -> _Schema:
        made = (ctypes.POINTER(_Schema) * len(children))(*(ctypes.pointer(c) for c in children))
        self._kept += [made, children]
        return _Schema(
            format=kind.encode(),
            name=name.encode(),
            flags=_NULLABLE,
            n_children=len(children),
            children=made,
            release=ctypes.cast(_release_schema, ctypes.c_void_p),
        )
