"""Callables as code: source where it makes the callable again, else the name of a module, else a pickle."""

from __future__ import annotations

import base64
import functools
import hashlib
import inspect
import sys
import types
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlrun.errors import ConfigError
from mlrun.functions.fingerprint import fingerprint
from mlrun.functions.sourcetext import own_source, source_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallableCode", "code_of", "is_installed", "module_digest", "name_of"]


class CallableCode(NamedTuple):
    """Code, and what of it is to be called (empty where the code is the callable itself)."""

    code: dict[str, Any]
    handler: str


def name_of(target: Callable[..., Any]) -> str:
    """Return a name for a callable: `train`, `Trainer-fit`, `function` for a lambda."""
    while isinstance(target, functools.partial):
        target = target.func
    called = getattr(target, "__qualname__", None) or type(target).__qualname__
    parts = [p for p in called.split(".") if p not in ("<locals>", "<lambda>")]
    if "<locals>" in called:
        parts = parts[-1:] if "<lambda>" not in called else []
    return "-".join(parts) or "function"


def code_of(target: Callable[..., Any]) -> CallableCode:
    """Return the code of a callable.

    Raises:
        ConfigError: it has no source that stands by itself, and cannot be pickled; the message says why.
    """
    if not callable(target):
        raise ConfigError(f"a function is made of a callable, not {type(target).__name__}")
    if named := _installed(target):
        module, called = named
        code = {"kind": "module", "name": module}
        if digest := module_digest(module):
            code["digest"] = digest
        return CallableCode(code, called)
    owner, handler = _owner(target)
    if owner is not None and (text := source_of(owner)):
        return CallableCode(
            {"kind": "source", "text": text, "filename": _file_name(owner)} | _origin(owner),
            handler,
        )
    return CallableCode(_pickled(target), "")


def module_digest(name: str) -> str:
    """Return the SHA-1 of a module's file, without importing the module; empty if it has none."""
    path: Any = None
    whole = ""
    origin = None
    for part in name.split("."):
        whole = f"{whole}.{part}" if whole else part
        try:
            found = PathFinder.find_spec(whole, path)
        except (ImportError, ValueError):
            return ""
        if found is None:
            return ""
        origin, path = found.origin, found.submodule_search_locations
    if not origin or not Path(origin).is_file():
        return ""
    return hashlib.sha1(Path(origin).read_bytes(), usedforsecurity=False).hexdigest()


def _installed(target: Any) -> tuple[str, str] | None:
    """Return module and name of what an installed package, or Python itself, holds."""
    module, called = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not module or not called or "<" in called:
        return None
    found: Any = sys.modules.get(module)
    if found is None or not is_installed(found):
        return None
    for part in called.split("."):
        found = getattr(found, part, None)
    if found is not target:
        return None
    holder, _, name = called.rpartition(".")
    return module, f"{holder}::{name}" if holder else name


def is_installed(module: Any) -> bool:
    """Whether a module belongs to Python, to an installed package or to mlrun."""
    top = module.__name__.partition(".")[0]
    file = getattr(module, "__file__", None) or ""
    packages = ("site-packages", "dist-packages")
    return top in sys.stdlib_module_names or top == "mlrun" or any(p in file for p in packages)


def _owner(target: Any) -> tuple[Any, str]:
    """Return what stands at the top of the module, and how the callable is reached from it."""
    if isinstance(target, type):
        return target, target.__name__
    plain = inspect.unwrap(target)
    if not isinstance(plain, types.FunctionType) or inspect.ismethod(target):
        return None, ""  # an instance, a partial or a bound method: it has a state
    path = plain.__qualname__.rpartition("<locals>.")[2]
    holder, _, name = path.rpartition(".")
    if not holder:
        return target, name
    found: Any = sys.modules.get(plain.__module__)
    for part in holder.split("."):
        found = getattr(found, part, None)
    return (
        (found, f"{holder}::{name}")
        if isinstance(found, type) and "." not in holder
        else (None, "")
    )


def _file_name(target: Any) -> str:
    file = inspect.getsourcefile(inspect.unwrap(target)) or ""
    return Path(file).name if file.endswith(".py") else "handler.py"


def _origin(target: Any) -> dict[str, str]:
    file = inspect.getsourcefile(inspect.unwrap(target)) or ""
    return {"origin": str(Path(file).absolute())} if Path(file).is_file() else {}


def _pickled(target: Any) -> dict[str, Any]:
    import cloudpickle

    module = sys.modules.get(getattr(inspect.unwrap(target), "__module__", None) or "")
    by_value = (
        module is not None
        and module.__name__ != "__main__"
        and not is_installed(module)
        and module.__name__ not in cloudpickle.list_registry_pickle_by_value()
    )
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        data = bytes(cloudpickle.dumps(target))
    except Exception as error:
        raise ConfigError(
            f"{name_of(target)} cannot be sent: {type(error).__name__}: {error}; "
            "put it into a file, and let it make there what it needs"
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
    code = {
        "kind": "pickle", "data": base64.b64encode(data).decode(), "digest": fingerprint(target),
        "python": ".".join(map(str, sys.version_info[:2])),
    }  # fmt: skip
    text = own_source(target if not isinstance(target, functools.partial) else target.func)
    return {**code, "text": text} if text else code
