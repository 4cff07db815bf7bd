"""Which project is meant when none is named: the one that this process made or loaded last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.errors import NotFound

if TYPE_CHECKING:
    from mlrun.project.project import Project

__all__ = ["active_name", "active_project", "get_current_project", "set_active"]

_active: Project | None = None


def set_active(project: Project | None) -> None:
    """Make a project the current one."""
    global _active  # one a process
    _active = project


def active_project() -> Project | None:
    """Return the current project, or None."""
    return _active


def active_name() -> str:
    """Return the name of the current project; inside a handler, that of its run; empty if there is neither."""
    from mlrun.tracking.current import bound_run

    run = bound_run()
    if run is not None:
        return run.project
    return "" if _active is None else _active.name


def get_current_project(silent: bool = False) -> Project | None:
    """Return the current project: the one that was made or loaded last; inside a handler, its run's.

    Args:
        silent: return None where there is none, instead of raising.

    Raises:
        NotFound: there is none.

    Example:
        >>> import mlrun
        >>> project = mlrun.get_or_create_project("doc", context="./doc")
        >>> mlrun.get_current_project() is project
        True
    """
    from mlrun.tracking.current import bound_run

    run = bound_run()
    if run is not None and (_active is None or _active.name != run.project):
        from mlrun.project.records import stored_project

        found = None if run.store is None else stored_project(run.store, run.project)
        if found is not None:
            return found
    elif _active is not None:
        return _active
    if silent:
        return None
    raise NotFound("there is no current project: call mlrun.get_or_create_project() first")
