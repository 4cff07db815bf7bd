"""`project_setup.py`: code of a project that says what it consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.errors import ConfigError
from mlrun.functions.module import load_source

if TYPE_CHECKING:
    from mlrun.project.project import Project

__all__ = ["SETUP", "has_setup", "run_setup"]

SETUP = "project_setup.py"


def has_setup(project: Project) -> bool:
    """Whether there is a setup in the project's folder."""
    return (project.context / SETUP).is_file()


def run_setup(project: Project) -> Project:
    """Call `setup(project)` of the project's `project_setup.py`; its params are there already.

    Returns:
        The project that `setup` returned, or the one given.

    Raises:
        ConfigError: it has no function `setup`, or that returned something else.
        Exception: whatever it raises.
    """
    path = project.context / SETUP
    if not path.is_file():
        return project
    module = load_source(path.read_text(encoding="utf-8"), SETUP, str(path))
    function = getattr(module, "setup", None)
    if not callable(function):
        raise ConfigError(f"{SETUP} has no function setup(project)")
    found = function(project)
    if found is None:
        return project
    if not isinstance(found, type(project)):
        raise ConfigError(f"setup() of {SETUP} returns the project, not {type(found).__name__}")
    return found
