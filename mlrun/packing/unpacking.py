"""Unpacking: an input becomes what the handler's type hint asks for."""

from __future__ import annotations

import ast
import json
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.dataitem import DataItem
from mlrun.content.frames import is_frame, rows_to_frame
from mlrun.packing.packers import packer_for

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["unpack"]


def unpack(item: DataItem, wanted: Any, *, trust: bool = False) -> Any:
    """Return the input as the class of a type hint.

    | hint | what the handler gets |
    |---|---|
    | none, `Any`, `DataItem` | the item itself |
    | `str`, `pathlib.Path` | the local path of the file (fetched first if it is remote) |
    | `polars.DataFrame`, `LazyFrame`, `pandas.DataFrame`, `pyarrow.Table` | the frame |
    | `numpy.ndarray` | the array |
    | `bytes` | the bytes |
    | `dict`, `list`, `tuple`, `set`, `int`, `float`, `bool` | what the JSON, YAML or text holds |
    | a class of a registered packer | what its `unpack` returns |
    | anything else | what was logged (`item.load()`) |

    Args:
        item: the input.
        wanted: a class, or `X | None`, or a union whose first member is meant.
        trust: also load pickles.

    Raises:
        TypeError: the input holds something else; names both.
    """
    wanted = _class_of(wanted)
    if wanted is None or issubclass(wanted, DataItem):
        return item
    value = getattr(item, "value", None)
    if value is not None and isinstance(value, wanted):
        return value
    name = f"{wanted.__module__.partition('.')[0]}.{wanted.__qualname__}"
    own = packer_for(wanted)
    if own is not None:
        return own.unpack(item, wanted)
    if name in _READERS:
        return _READERS[name](item)
    loaded = item.load(trust=trust)
    if not isinstance(loaded, wanted):
        raise TypeError(
            f"input {item.key!r} holds a {type(loaded).__name__}, and the handler asks for a {wanted.__name__}"
        )
    return loaded


def _class_of(wanted: Any) -> type | None:
    """Return the class that a hint means; None where anything will do."""
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        members = [a for a in typing.get_args(wanted) if a is not types.NoneType]
        return _class_of(members[0]) if members else None
    if origin is typing.Annotated:
        return _class_of(typing.get_args(wanted)[0])
    if origin is not None:
        return origin if isinstance(origin, type) else None
    anything = wanted is Any or wanted is object  # `Any` is a class since Python 3.11
    return wanted if isinstance(wanted, type) and not anything else None


def _frame(item: DataItem) -> Any:
    value = getattr(item, "value", None)
    return item.as_df() if value is None or not is_frame(value) else rows_to_frame(value)


def _arrow(item: DataItem) -> Any:
    return _frame(item).to_arrow()


def _array(item: DataItem) -> Any:
    import numpy as np

    value = getattr(item, "value", None)
    loaded = item.load() if value is None else value
    return loaded.to_numpy() if is_frame(loaded) else np.asarray(loaded)


def _plain(cls: type) -> Callable[[DataItem], Any]:
    def read(item: DataItem) -> Any:
        value = getattr(item, "value", None)
        found = _parsed(item) if value is None else value
        if isinstance(found, cls) and not (cls is int and isinstance(found, bool)):
            return found
        allowed = (cls is float and isinstance(found, int)) or cls in (tuple, set, frozenset)
        if allowed and not isinstance(found, (str, bytes, dict, bool)):
            return cls(found)
        raise TypeError(
            f"input {item.key!r} holds a {type(found).__name__}, and the handler asks for a {cls.__name__}"
        )

    return read


def _parsed(item: DataItem) -> Any:
    """Read JSON, YAML (by its suffix), else the text as a Python literal, else the text."""
    text = item.get(encoding="utf-8")
    if str(item.meta.get("name", "")).lower().endswith((".yaml", ".yml")):
        import yaml

        return yaml.safe_load(text)
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue  # the next reading, or the text as it is
    return text


_READERS: dict[str, Callable[[DataItem], Any]] = {
    "builtins.str": lambda item: str(item.path()),
    "pathlib.Path": lambda item: Path(item.path()),
    "builtins.bytes": lambda item: item.get(),
    "polars.DataFrame": _frame,
    "polars.LazyFrame": lambda item: _frame(item).lazy(),
    "pandas.DataFrame": lambda item: item.as_df(pandas=True),
    "pyarrow.Table": _arrow,
    "numpy.ndarray": _array,
    **{
        f"builtins.{c.__name__}": _plain(c)
        for c in (dict, list, tuple, set, frozenset, int, float, bool)
    },
}
