"""Running the tests of one file once more, under other fixtures: the suite of questions is asked over a gateway too."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

__all__ = ["load", "suite_of"]


def load(path: Path) -> ModuleType:
    """Return a file of tests as a module of its own."""
    name = f"suite_of_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def suite_of(path: Path, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the tests and fixtures of a file, to be put among another's globals.

    Args:
        path: the file.
        without: names of tests that do not mean anything there.

    Raises:
        LookupError: one of these names is not there.
    """
    found = {key: value for key, value in vars(load(path)).items() if _is_collected(key, value)}
    if unknown := set(without) - set(found):
        raise LookupError(f"{path.name} has no {', '.join(sorted(unknown))}")
    return {key: value for key, value in found.items() if key not in without}


def _is_collected(name: str, value: Any) -> bool:
    is_test = name.startswith("test_") and inspect.isfunction(value)
    return is_test or type(value).__name__ == "FixtureFunctionDefinition"
