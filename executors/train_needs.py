"""Whether a call may use torch: its process group costs every rank seconds, which other functions need not wait for."""

from __future__ import annotations

import ast
import inspect
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mlrun.execution.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["may_use_torch"]

# what a module may import without torch coming along; of anything else it is not known
_OTHERS = frozenset(
    {
        *sys.stdlib_module_names,
        "mlrun", "numpy", "pandas", "polars", "psutil", "pyarrow", "pytest", "ray", "scipy", "sklearn",
    }
)  # fmt: skip
_BY_NAME = frozenset({"__import__", "eval", "exec", "import_module"})


def may_use_torch(fn: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Say whether the code of a call can come by torch; True where that cannot be seen.

    Args:
        fn: what is called; `perform` with a `Task` is a call of the task's function.
        args: its arguments.
    """
    if find_spec("torch") is None:
        return False
    text = _code_of(fn, args)
    return text is None or _imports_others(text)


def _code_of(fn: Callable[..., Any], args: Sequence[Any]) -> str | None:
    """Return the text of the module that holds the code."""
    if args and isinstance(args[0], Task):
        code = args[0].function.get("code") or {}
        return str(code["text"]) if code.get("kind") == "source" else None
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    try:
        return inspect.getsource(module) if module is not None else None
    except (OSError, TypeError):
        return None


def _imports_others(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return True
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." if node.level else node.module or ""]
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            names = ["."] if name in _BY_NAME else []
        else:
            continue
        if any(name.partition(".")[0] not in _OTHERS for name in names):
            return True
    return False
