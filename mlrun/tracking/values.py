"""Values of params and results: any Python value as JSON text and the word for its type.

JSON here has the literals NaN, Infinity and -Infinity, because a learning rate that became NaN must be readable as one.
What JSON does not know is brought to the nearest thing it does (paths and dates to text, NumPy values to numbers, sets
to lists); what is left over is kept as its `repr`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mlrun.names import plain_text
from mlrun.tracking.scalars import count_elements

__all__ = ["as_tree", "decode", "encode", "plain", "pretty"]

_MAX_DEPTH = 64
_MAX_ELEMENTS = 10_000  # of an array that is written out as a list
_TYPES: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
    type(None): "null",
}


class _Strange(Exception):
    """A value has no JSON form."""


def encode(value: Any) -> tuple[str, str, bool]:
    """Return (JSON text, type word, whether it is what was given and not a repr).

    The type is that of the stored value: int, float, bool, str, list, dict or null.

    Example:
        >>> encode(0.1)
        ('0.1', 'float', True)
        >>> encode({"sizes": (1, 2)})
        ('{"sizes": [1, 2]}', 'dict', True)
        >>> encode(float("nan"))[0]
        'NaN'
    """
    try:
        found = plain(value)
        return json.dumps(found, ensure_ascii=False), _TYPES[type(found)], True
    except (_Strange, ValueError):  # ValueError: an int with more digits than Python prints
        return json.dumps(pretty(value), ensure_ascii=False), "str", False


def decode(text: str) -> Any:
    """Return the value that `encode` wrote; the text itself if it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pretty(value: Any) -> str:
    """Return `repr(value)`, at most 4,096 characters, whatever that `repr` does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  somebody's __repr__ may raise anything
        text = f"<{type(value).__name__}>"
    return plain_text(text[:4096])


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value as None, bool, int, float, str, list or dict, through and through.

    Raises:
        Exception: the value has no such form (private to `encode`).
    """
    kind = type(value)
    if kind is str:
        return plain_text(value)
    if kind in (float, int, bool) or value is None:
        return value
    if depth > _MAX_DEPTH:
        raise _Strange
    if isinstance(value, dict):
        return {plain_text(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range)):
        if isinstance(value, (set, frozenset)):
            value = sorted(value, key=repr)
        return [plain(v, depth + 1) for v in value]
    if isinstance(value, (bool, int, float, str)):
        return _subclass(value)
    try:
        return _foreign(value, depth)
    except _Strange:
        raise
    except Exception as error:
        raise _Strange from error


def _subclass(value: Any) -> Any:
    # numpy.float64, enums of int or str: the plain number or text in them
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return plain_text(value)


def _foreign(value: Any, depth: int) -> Any:
    if isinstance(name := getattr(value, "__qualname__", None), str):  # a class or a function
        return plain_text(f"{getattr(value, '__module__', '')}.{name}")
    for method in ("isoformat", "__fspath__"):
        if callable(convert := getattr(value, method, None)):
            return plain(convert(), depth + 1)
    if type(value).__name__ == "UUID":
        return str(value)
    if hasattr(value, "_value_") and hasattr(value, "name"):  # an enum
        return plain(value._value_, depth + 1)
    if type(value).__name__ in ("Decimal", "Fraction"):
        return float(value)
    if count_elements(value) > _MAX_ELEMENTS:
        raise _Strange
    if callable(tolist := getattr(value, "tolist", None)):  # NumPy, torch, JAX
        return plain(tolist(), depth + 1)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [plain(v, depth + 1) for v in value]
    if (tree := as_tree(value)) is not None:
        return plain(tree, depth + 1)
    raise _Strange


def as_tree(value: Any) -> dict[Any, Any] | None:
    """Return a config object as a dict: a mapping, Namespace, dataclass, pydantic model, or one with `to_dict()`.

    None when the value is no such object. The libraries are not imported: their objects are known by what they offer.
    """
    if isinstance(value, dict):
        return value
    if isinstance(value, type):
        return None
    if callable(keys := getattr(value, "keys", None)) and hasattr(value, "__getitem__"):
        return {k: value[k] for k in keys()}  # OmegaConf and other mappings
    for method in ("model_dump", "to_dict", "dict"):
        if callable(dump := getattr(value, method, None)):
            found = dump()
            return found if isinstance(found, dict) else None
    if isinstance(fields := getattr(value, "__dataclass_fields__", None), dict):
        return {name: getattr(value, name) for name in fields}
    if type(value).__name__ in ("Namespace", "SimpleNamespace"):
        return dict(vars(value))
    attributes = getattr(type(value), "__attrs_attrs__", None)
    return None if attributes is None else {a.name: getattr(value, a.name) for a in attributes}
