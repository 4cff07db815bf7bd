"""The fingerprint of a callable that is pickled: pickles of one and the same function differ from process to process.

It covers bytecode, constants, defaults, what is closed over, and the values of the globals that are used.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import types
from typing import Any

__all__ = ["fingerprint"]

_DEPTH = 50


def fingerprint(target: Any) -> str:
    """Return 40 hex digits that change when the callable would do something else.

    Example:
        >>> def scaled(by):
        ...     return lambda x: x * by
        >>> fingerprint(scaled(2)) == fingerprint(scaled(2)), fingerprint(scaled(2)) == fingerprint(scaled(3))
        (True, False)
    """
    digest = hashlib.sha1(usedforsecurity=False)
    _feed(digest, target, set(), 0)
    return digest.hexdigest()


def _feed(digest: Any, value: Any, seen: set[int], depth: int) -> None:
    """Add a value to the digest; `seen` holds the ids of what is being added, against circles."""
    digest.update(f"\0{type(value).__module__}.{type(value).__qualname__}\0".encode())
    if id(value) in seen or depth > _DEPTH:
        return
    seen.add(id(value))
    for part in _parts(value):
        if isinstance(part, bytes):
            digest.update(len(part).to_bytes(8, "big") + part)
        else:
            _feed(digest, part, seen, depth + 1)
    seen.discard(id(value))


def _parts(value: Any) -> list[Any]:
    """Return what a value consists of: bytes, or values again."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return [repr(value).encode("utf-8", "surrogatepass")]
    if isinstance(value, (tuple, list)):
        return list(value)
    if isinstance(value, dict):
        return [part for key in sorted(value, key=repr) for part in (key, value[key])]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, types.ModuleType):
        return [value.__name__.encode()]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, value.co_varnames, *value.co_consts]
    if isinstance(value, types.FunctionType):
        return _named(value) or _function(value)
    if inspect.ismethod(value):
        return [value.__func__, value.__self__]
    if isinstance(value, type):
        return _class(value)
    return _object(value)


def _named(value: types.FunctionType) -> list[Any]:
    """Return the name of a function that an installed package holds; empty for one of the user's own."""
    module = inspect.getmodule(value)
    own = module is None or module.__name__ == "__main__" or not _is_library(module)
    if own or "<" in value.__qualname__:  # a closure made by a library holds what is the user's
        return []
    return [f"{value.__module__}.{value.__qualname__}".encode()]


def _function(value: types.FunctionType) -> list[Any]:
    cells = [_cell(c) for c in value.__closure__ or ()]
    names = _names(value.__code__)
    used = {n: value.__globals__[n] for n in names if n in value.__globals__}
    return [value.__code__, value.__defaults__, value.__kwdefaults__, cells, used]


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _class(value: type) -> list[Any]:
    module = inspect.getmodule(value)
    name = f"{value.__module__}.{value.__qualname__}".encode()
    if module is not None and getattr(module, "__name__", "") != "__main__" and _is_library(module):
        return [name]
    kept = {
        k: v for k, v in vars(value).items()
        if isinstance(v, (types.FunctionType, staticmethod, classmethod, property)) or _is_plain(k)
    }  # fmt: skip
    plain = {k: getattr(v, "__func__", getattr(v, "fget", v)) for k, v in kept.items()}
    return [name, plain, [b.__qualname__ for b in value.__bases__]]


def _is_plain(name: str) -> bool:
    return not (name.startswith("__") and name.endswith("__")) and not name.startswith("_abc_")


def _is_library(module: types.ModuleType) -> bool:
    from mlrun.functions.callables import is_installed

    return is_installed(module)


def _object(value: Any) -> list[Any]:
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict) and not _is_library_object(value):
        return [type(value), state]
    try:
        return [pickle.dumps(value, protocol=5)]
    except Exception:  # noqa: BLE001  a lock, a connection: its type must do
        return [type(value)]


def _is_library_object(value: Any) -> bool:
    module = inspect.getmodule(type(value))
    return module is None or _is_library(module)
