"""Values on their way to a Ray worker and back: shared where they are large, read-only, Polars as Arrow.

Ray shares Arrow tables and NumPy arrays between the processes of a host, but copies Polars frames. So a frame becomes
the Arrow table of the same memory at the border, and a frame again behind it. Large values inside of the arguments
(also in dicts, lists and tuples) go into the object store, a small mark stands in their place.
"""

from __future__ import annotations

import sys
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LARGE", "SharedValues", "pack_value", "unpack_value"]

LARGE = 100_000  # bytes; below that Ray sends a value with the call, which costs less than a place in the store


@dataclass(frozen=True)
class _Shared:
    """Stands for the value of that number that came with the call."""

    number: int


@dataclass(frozen=True)
class _Frame:
    """A Polars frame or series (`one`) as an Arrow table; `schema` has what Arrow does not know, such as Enum."""

    table: Any
    schema: Any
    one: bool


@dataclass(frozen=True)
class _Stream:
    """An Arrow table in its stream format: what Ray cannot take apart (views), and reads without a copy like this."""

    data: Any


@dataclass(frozen=True)
class _Array:
    """A NumPy array; read-only where it arrives, whether it was shared or not."""

    values: Any


def pack_value(value: Any, share: Callable[[Any, Any], int] | None = None) -> Any:
    """Return what travels for a value.

    Args:
        value: anything; dicts, lists and tuples are looked into.
        share: called with a large value and the object that it belongs to, gives its number; None: all stays inside.
    """
    kind = type(value)
    if kind in (dict, list, tuple):
        return _pack_inside(value, share)
    library = kind.__module__.partition(".")[0]
    if kind.__name__ == "ObjectRef" and library == "ray" and share is not None:
        return _Shared(share(value, value))  # what it stands for is handed to the call
    if library == "polars" and kind.__name__ in ("DataFrame", "Series"):
        return _pack_frame(value, share)
    if library == "pyarrow" and hasattr(value, "nbytes"):
        if _is_large(value, share):
            assert share is not None
            return _Shared(share(value, value))
        return _sendable(value)
    if library == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject:
        if _is_large(value, share):
            assert share is not None
            return _Array(_Shared(share(value, value)))
        return _Array(value)
    return value


def unpack_value(value: Any, shared: Sequence[Any] = ()) -> Any:
    """Return the value that was packed; `shared` are the large ones that came with it."""
    kind = type(value)
    if kind is dict:
        return {k: unpack_value(v, shared) for k, v in value.items()}
    if kind in (list, tuple):
        return kind(unpack_value(v, shared) for v in value)
    if kind is _Shared:
        return unpack_value(shared[value.number])
    if kind is _Stream:
        from pyarrow import ipc

        return ipc.open_stream(value.data).read_all()
    if kind is _Array:
        array = unpack_value(value.values, shared)
        array.flags.writeable = False
        return array
    if kind is _Frame:
        return _unpack_frame(value, shared)
    return value


class SharedValues:
    """Large values that lie in the object store, once per object.

    Arrow tables and Polars frames are remembered as long as they live, so that a table handed to a thousand calls is
    stored once. A NumPy array is remembered only if nobody can write into it.
    """

    def __init__(self, put: Callable[[Any], Any]) -> None:
        self._put = put
        self._lock = threading.Lock()
        self._known: dict[int, tuple[weakref.ref[Any], Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, value: Any, owner: Any) -> Any:
        """Return the reference of `value`, which is made of the memory of `owner`."""
        if type(value).__name__ == "ObjectRef":
            return value
        if not _is_frozen(owner):
            return self._put(value)  # an array
        place = _place_of(value)
        with self._lock:
            found = self._known.get(id(owner))
            if found is not None and found[0]() is owner and _place_of(found[1]) == place:
                return found[2]
        reference = self._put(_sendable(value))
        number = id(owner)

        def forget(dead: weakref.ref[Any]) -> None:  # runs wherever the owner dies: takes no lock
            entry = self._known.get(number)
            if entry is not None and entry[0] is dead:
                self._known.pop(number, None)

        # a table of a frame's memory is kept: while a second owner reads it, Polars copies before it writes
        kept = None if value is owner else value
        self._known[number] = (weakref.ref(owner, forget), kept, reference)
        return reference

    def clear(self) -> None:
        """Forget all of them."""
        self._known.clear()


def _is_large(value: Any, share: Any) -> bool:
    return share is not None and value.nbytes >= LARGE


def _pack_inside(value: Any, share: Callable[[Any, Any], int] | None) -> Any:
    if type(value) is dict:
        packed: Any = {k: pack_value(v, share) for k, v in value.items()}
        same = all(packed[k] is v for k, v in value.items())
    else:
        packed = [pack_value(v, share) for v in value]
        same = all(a is b for a, b in zip(packed, value, strict=True))
        packed = type(value)(packed)
    return value if same else packed


def _pack_frame(value: Any, share: Callable[[Any, Any], int] | None) -> Any:
    import polars as pl

    one = isinstance(value, pl.Series)
    frame = value.to_frame() if one else value
    if frame.width == 0 or any(dtype == pl.Object for dtype in frame.dtypes):
        return value
    table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    if (
        table.nbytes > 2 * frame.estimated_size()
    ):  # a slice that has the texts of its whole frame with it
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    if _is_large(table, share):
        assert share is not None
        return _Frame(_Shared(share(table, value)), frame.schema, one)
    return _Frame(_sendable(table), frame.schema, one)


def _sendable(value: Any) -> Any:
    """Return an Arrow value as Ray can carry it."""
    if type(value).__name__ != "Table" or not any("view" in str(t) for t in value.schema.types):
        return value
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, value.schema) as writer:
        writer.write_table(value)
    return _Stream(sink.getvalue())


def _unpack_frame(packed: _Frame, shared: Sequence[Any]) -> Any:
    import polars as pl

    frame = pl.from_arrow(unpack_value(packed.table, shared), rechunk=False)
    assert isinstance(frame, pl.DataFrame)
    if frame.schema != packed.schema:
        frame = frame.cast(dict(packed.schema))
    return frame.to_series() if packed.one else frame


def _is_frozen(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    while numpy is not None and isinstance(value, numpy.ndarray):
        if value.flags.writeable:
            return False
        value = value.base
    return not isinstance(value, bytearray | memoryview)


def _place_of(table: Any) -> Any:
    """Return where the memory of a table lies; None for what is not made of another object's memory."""
    columns = getattr(table, "columns", None)
    if columns is None:
        return None
    return tuple(
        (len(chunk), chunk.offset, *(b.address if b else 0 for b in chunk.buffers()))
        for column in columns
        for chunk in getattr(column, "chunks", [column])
    )
