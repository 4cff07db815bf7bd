"""The source of a callable, when it stands by itself: its own text, and of its module only what it uses.

What it uses may be modules, things that can be imported by their name, plain constants, and functions and classes of
the same module for which the same holds. Anything else (a closure, a frame in a notebook) has no source that would make
it again: the callable is pickled then.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import inspect
import symtable
import sys
import textwrap
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["own_source", "source_of"]

_CONSTANTS = (str, bytes, int, float, bool, type(None))
_MOST_CONSTANT = 10_000  # characters of a constant's repr


def own_source(target: Any) -> str:
    """Return the text of a function or class alone; empty where there is none to be had.

    A lambda has none: its line belongs to a statement that it is only a part of.
    """
    plain = inspect.unwrap(target) if callable(target) else target
    if not isinstance(plain, (FunctionType, type)) or plain.__name__ == "<lambda>":
        return ""
    try:
        text = textwrap.dedent(inspect.getsource(plain))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError, IndentationError):
        return ""
    return text if _defines(tree, plain.__name__) else ""


def _defines(tree: ast.Module, name: str) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return len(tree.body) == 1 and isinstance(tree.body[0], kinds) and tree.body[0].name == name


def source_of(target: Callable[..., Any]) -> str:
    """Return the text of a module that makes the callable again under its own name; empty if there is none.

    Args:
        target: a function, or a class.
    """
    plain = inspect.unwrap(target)
    if "<locals>" in plain.__qualname__ and _closed_over(plain):
        return ""
    gathered = _Gathered(vars(sys.modules[plain.__module__]) if _is_loaded(plain) else {})
    if isinstance(plain, FunctionType):
        gathered.names = plain.__globals__
    if not gathered.add(plain.__name__, target):
        return ""
    future = ["from __future__ import annotations\n"] if gathered.future else []
    head = "".join([*future, *sorted(gathered.imports)])
    parts = [head, "".join(f"{n} = {v}\n" for n, v in gathered.constants.items())]
    return "\n\n".join(p.rstrip("\n") + "\n" for p in [*parts, *gathered.parts.values()] if p)


def _is_loaded(target: Any) -> bool:
    return getattr(target, "__module__", None) in sys.modules


def _closed_over(target: Any) -> bool:
    return not isinstance(target, FunctionType) or bool(target.__closure__)


@dataclass
class _Gathered:
    """What a module needs to hold; `names` is where the callable looks its names up."""

    names: dict[str, Any]
    imports: set[str] = field(default_factory=set)
    constants: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    future: bool = False
    _open: set[str] = field(default_factory=set)

    def add(self, name: str, target: Any) -> bool:
        """Take a function or class and what it uses; False if something has no source."""
        if name in self.parts or name in self._open:
            return True
        text = own_source(target)
        plain = inspect.unwrap(target)
        if not text or plain.__name__ != name or getattr(plain, "__closure__", None):
            return False
        if plain is not target and not self._is_decorated(name, target, text):
            return False
        self._open.add(name)
        self.future = self.future or _postpones(plain)
        for used in _globals_of(text):
            if used == name or used not in self.names or used.startswith("__"):
                continue  # a name that is not there yet raises there as it would here
            if not self._use(used, self.names[used]):
                return False
        self.parts[name] = text
        return True

    def _is_decorated(self, name: str, target: Any, text: str) -> bool:
        """Whether the text makes the wrapped callable, and not only the plain one inside."""
        known = self.names.get(name)
        [made] = ast.parse(text).body
        return known is target or (known is None and bool(getattr(made, "decorator_list", ())))

    def _use(self, name: str, value: Any) -> bool:
        if getattr(builtins, name, self) is value:
            return True
        if line := _import_line(name, value, self.names.get("__name__", "")):
            self.imports.add(line)
            return True
        if _is_constant(value):
            self.constants[name] = repr(value)
            return len(self.constants[name]) < _MOST_CONSTANT
        if getattr(value, "__module__", None) != self.names.get("__name__"):
            return False
        return callable(value) and self.add(name, value)


def _postpones(target: Any) -> bool:
    """Whether its module keeps annotations as text."""
    code = getattr(target, "__code__", None)
    if code is None:
        codes = [f.__code__ for f in vars(target).values() if isinstance(f, FunctionType)]
        return any(c.co_flags & __future__.annotations.compiler_flag for c in codes)
    return bool(code.co_flags & __future__.annotations.compiler_flag)


def _globals_of(text: str) -> list[str]:
    """Return the names that a definition looks up in its module, in order."""
    table = symtable.symtable(text, "<source>", "exec")
    found = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    waiting = list(table.get_children())
    while waiting:
        inner = waiting.pop()
        found |= {s.get_name() for s in inner.get_symbols() if s.is_global() and s.is_referenced()}
        waiting += inner.get_children()
    return sorted(found)


def _import_line(name: str, value: Any, home: str) -> str:
    if isinstance(value, ModuleType):
        if value.__name__ == "__main__" or value.__spec__ is None:
            return ""
        top = value.__name__ == name
        return f"import {value.__name__}\n" if top else f"import {value.__name__} as {name}\n"
    module, called = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not called or module in (home, "__main__", "builtins"):
        return ""
    loaded = sys.modules.get(module)
    if loaded is None or "." in called or getattr(loaded, called, None) is not value:
        return ""
    if getattr(loaded, "__spec__", None) is None:  # it lives in this process alone
        return ""
    return f"from {module} import {called}{'' if called == name else f' as {name}'}\n"


def _is_constant(value: Any) -> bool:
    if type(value) in (tuple, list):
        return all(map(_is_constant, value))
    if type(value) is dict:
        return all(map(_is_constant, [*value, *value.values()]))
    return (
        type(value) in _CONSTANTS and value == value and value not in (float("inf"), float("-inf"))
    )
