"""Which value goes to which parameter of a handler.

By name: `context` gets the run; a param or an input gets its value; `**kwargs` gets all that is left over. An input
goes as a `DataItem`, except that a parameter without annotation whose default is text gets the path of a local file,
and an annotated one gets what its annotation says. What the handler does not name is recorded with the run, and can be
asked for with `context.get_param` and `context.get_input`.
"""

from __future__ import annotations

import builtins
import inspect
import typing
from contextlib import suppress
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["bind_arguments", "hints_of"]

_CONTEXT = "context"
_MISSING = inspect.Parameter.empty
_SIGNATURES: dict[Any, inspect.Signature] = {}
_KEPT = 256
_ALIASES = {
    "pl": "polars", "polars": "polars", "pd": "pandas", "pandas": "pandas", "np": "numpy",
    "numpy": "numpy", "pa": "pyarrow", "pyarrow": "pyarrow", "pathlib": "pathlib", "mlrun": "mlrun",
}  # fmt: skip


def bind_arguments(
    handler: Callable[..., Any],
    run: Any,
    params: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and named arguments of the call.

    Args:
        handler: what is called.
        run: goes to `context`.
        params: values by name.
        inputs: what the run was given to read, by name; read through `run.get_input`.

    Raises:
        ConfigError: a parameter without default is given nothing; the message says which and what was given.
        NotFound: an input is not there. TypeError: it is not what the annotation says.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    missing: list[str] = []
    taken: set[str] = set()
    rest = ""
    for name, parameter in _signature(handler).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            rest = name
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        taken.add(name)
        if name == _CONTEXT or _is_run(parameter.annotation):
            value = run
        elif name in inputs:
            value = _read(run, name, _hinted(run, name, handler) or _wanted(handler, parameter))
        elif name in params:
            value = params[name]
        elif parameter.default is not _MISSING:
            value = parameter.default
        else:
            missing.append(name)
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(value)
        else:
            named[name] = value
    if missing:
        raise ConfigError(_lacking(handler, missing, [*params, *inputs], taken))
    if rest:
        named |= {k: v for k, v in params.items() if k not in taken}
        named |= {k: _read(run, k, _hinted(run, k, handler)) for k in inputs if k not in taken}
    return positional, named


def _signature(handler: Callable[..., Any]) -> inspect.Signature:
    try:
        return _SIGNATURES[handler]
    except (KeyError, TypeError):  # TypeError: a callable that cannot be hashed
        pass
    try:
        found = inspect.signature(handler)
    except (TypeError, ValueError):  # a built-in says nothing: it gets all by name
        found = inspect.Signature([inspect.Parameter("given", inspect.Parameter.VAR_KEYWORD)])
    try:
        if len(_SIGNATURES) >= _KEPT:
            _SIGNATURES.clear()
        _SIGNATURES[handler] = found
    except TypeError:
        pass  # a callable that cannot be hashed is looked at each time
    return found


def hints_of(handler: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a handler by name, those that are kept as text resolved where they can be.

    A function that travelled by value has lost the modules that only its annotations name: the usual short names of
    the frame libraries are known here.
    """
    target = inspect.unwrap(handler if inspect.isroutine(handler) else type(handler).__call__)
    found: dict[str, Any] = {}
    for name, given in getattr(target, "__annotations__", {}).items():
        if not isinstance(given, str):
            found[name] = given
            continue
        known = {**getattr(target, "__globals__", {})}
        known |= {a: m for a, m in _frame_modules(given).items() if a not in known}
        with suppress(
            Exception
        ):  # a name that exists only for type checkers: the input goes as it is
            found |= typing.get_type_hints(SimpleNamespace(__annotations__={name: given}), known)
    return found


def _frame_modules(annotation: str) -> dict[str, Any]:
    named = {alias for alias in _ALIASES if f"{alias}." in annotation}
    found: dict[str, Any] = {}
    for alias in named:
        with suppress(ImportError):
            found[alias] = import_module(_ALIASES[alias])
    return found


def _is_run(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.strip("'\"") in ("Run", "mlrun.Run")
    from mlrun.tracking.run import Run

    return annotation is Run


def _read(run: Any, name: str, wanted: Any) -> Any:
    item = run.get_input(name)
    if wanted is None:
        return item
    from mlrun.packing.unpacking import unpack
    from mlrun.workflows.lineage import is_made_by_own_workflow

    return unpack(item, wanted, trust=is_made_by_own_workflow(run, item))


def _hinted(run: Any, name: str, handler: Callable[..., Any]) -> Any:
    """Return the class that the caller named for an input (`inputs={"x : polars.DataFrame": …}`); None if none was."""
    text = run.task.hints.get(name) if run.task is not None else None
    if not text:
        return None
    module, _, last = text.rpartition(".")
    if module:
        first, dot, rest = module.partition(".")
        with suppress(ImportError):
            return getattr(import_module(_ALIASES.get(first, first) + dot + rest), last)
    own = getattr(inspect.unwrap(handler), "__globals__", {})
    found = None if module else own.get(last, getattr(builtins, last, None))
    if found is None:
        raise ConfigError(f"input {name!r} is to become a {text}: there is no such class here")
    return found


def _wanted(handler: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the class that an input is to be brought to; None for the item itself."""
    if isinstance(parameter.annotation, str):
        return hints_of(handler).get(parameter.name)
    if parameter.annotation is not _MISSING:
        return parameter.annotation
    return str if isinstance(parameter.default, str) else None


def _lacking(
    handler: Callable[..., Any], missing: list[str], given: list[str], taken: set[str]
) -> str:
    unused = [name for name in given if name not in taken]
    hint = did_you_mean(missing[0], unused)
    said = f"; given: {', '.join(map(repr, given))}" if given else "; no params and no inputs given"
    name = getattr(handler, "__qualname__", None) or repr(handler)
    return f"{name}() needs {', '.join(map(repr, missing))}{said}{hint}"
