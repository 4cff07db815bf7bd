"""Pickles of calls: what the other side can import goes by name, everything else by value.

A slice of an Arrow table holds the buffers of the whole one, and Arrow pickles them all: ten rows of a gigabyte would
travel as a gigabyte. Such a slice is cut out before.
"""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

__all__ = ["dump", "dump_call"]

_SLACK = 4096  # bytes of buffers beyond what is used of them, which may travel along


def dump_call(fn: Callable[..., Any], args: Sequence[Any], *more: Any) -> bytes:
    """Pickle `(fn, args, *more)` for a process that has this one's import path.

    Raises:
        ExecutorError: something of it cannot be pickled; the message says what.
    """
    with _by_value([fn, *args]):
        try:
            return dump((fn, tuple(args), *more))
        except Exception as error:
            raise ExecutorError(_complaint(fn, args, error)) from error


def dump(value: Any) -> bytes:
    """Pickle a value, with cloudpickle; slices of Arrow data without the rest."""
    with io.BytesIO() as file:
        _pickler()(file, protocol=5).dump(value)
        return file.getvalue()


@cache
def _pickler() -> type[Any]:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Cuts slices of Arrow data out."""

        def reducer_override(self, obj: Any) -> Any:
            if type(obj).__module__ == "pyarrow.lib" and _is_slice(obj):
                return _read_stream, (_as_stream(obj), type(obj).__name__)
            return super().reducer_override(obj)

    return Pickler


def _is_slice(value: Any) -> bool:
    """Whether an Arrow table, batch or array holds far more memory than it shows."""
    held = getattr(value, "get_total_buffer_size", None)
    return held is not None and held() > 2 * value.nbytes + _SLACK


def _as_stream(value: Any) -> bytes:
    import pyarrow as pa

    rows = value if hasattr(value, "schema") else pa.table({"": value})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return bytes(sink.getvalue())


def _read_stream(data: bytes, kind: str) -> Any:
    import pyarrow as pa

    stream = pa.ipc.open_stream(data)
    if kind == "RecordBatch":
        return stream.read_next_batch()
    table = stream.read_all()
    if kind == "Table":
        return table
    column = table.column(0)
    return column if kind == "ChunkedArray" else column.combine_chunks()


def _complaint(fn: Callable[..., Any], args: Sequence[Any], error: Exception) -> str:
    import cloudpickle

    for what, value in [("the function", fn), *((f"argument {i}", a) for i, a in enumerate(args))]:
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001  this is the one
            name = getattr(value, "__qualname__", type(value).__name__)
            return f"{what} ({name}) cannot be sent: {type(error).__name__}: {error}"
    return f"the call cannot be sent: {type(error).__name__}: {error}"


@contextmanager
def _by_value(values: Sequence[Any]) -> Iterator[None]:
    """Have cloudpickle take along the modules of these values that cannot be imported by their name elsewhere."""
    import cloudpickle

    with ExitStack() as stack:
        for module in {id(m): m for v in values if (m := _module_of(v)) is not None}.values():
            if module.__name__ in cloudpickle.list_registry_pickle_by_value():
                continue
            cloudpickle.register_pickle_by_value(module)
            stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield


def _module_of(value: Any) -> ModuleType | None:
    while isinstance(value, partial):
        value = value.func
    if not callable(value):
        value = type(value)
    name = getattr(value, "__module__", None) or getattr(type(value), "__module__", "")
    module = sys.modules.get(name or "")
    if module is None or name == "__main__" or _is_importable(name, _file_of(module)):
        return None
    return module


def _file_of(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or "")


@cache
def _is_importable(name: str, file: str) -> bool:
    """Whether a fresh process finds this very module by its name."""
    top, *rest = name.split(".")
    if not file or top in sys.stdlib_module_names or top == "mlrun":
        return True
    path: Any = None
    try:
        spec = PathFinder.find_spec(top, None)
        for part in rest:
            path = None if spec is None else spec.submodule_search_locations
            if not path:
                return False
            spec = PathFinder.find_spec(f"{top}.{part}", path)
            top = f"{top}.{part}"
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.origin == file
