"""Which run is meant when none is named: the handler's, else the one that this process opened with `init`.

A run that is bound to a handler lives in a context variable, so that handlers on different threads or tasks do not see
each other's. Threads start with an empty context: in a thread that a handler or script started, the process's open run
is meant, or the bound one if there is just one.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mlrun.notices import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.tracking.run import Run

__all__ = ["bind", "bound_run", "current_run", "log", "set_open_run"]

_bound: ContextVar[Run | None] = ContextVar("mlrun_run", default=None)
_bindings: list[Run] = []
_open: Run | None = None
_warned = False


def current_run() -> Run | None:
    """Return the run that is open here, or None.

    Inside a handler that is the handler's run; elsewhere the one that `init` opened last, until it is finished.

    Example:
        >>> import mlrun
        >>> with mlrun.init(project="doc") as run:
        ...     mlrun.current_run() is run
        True
        >>> mlrun.current_run() is None
        True
    """
    run = _bound.get()
    if run is not None:
        return run
    if _open is not None:
        return _open
    try:
        return _bindings[0] if len(_bindings) == 1 else None
    except IndexError:  # its handler ended on another thread between the two looks
        return None


def log(data: Mapping[str, Any], step: int | None = None) -> None:
    """Log to the current run; see `Run.log`. Without an open run nothing is stored, and one warning says so.

    Example:
        >>> import mlrun
        >>> with mlrun.init(project="doc") as run:
        ...     mlrun.log({"loss": 0.5})
        >>> mlrun.metrics(run.id)["value"].to_list()
        [0.5]
    """
    global _warned  # one warning a process
    run = current_run()
    if run is not None:
        run.log(data, step)
    elif not _warned:
        _warned = True
        warn("log() was called without an open run, so nothing is stored: call mlrun.init() first")


def bound_run() -> Run | None:
    """Return the run that a handler on this thread or task owns, or None."""
    return _bound.get()


def open_run_of_process() -> Run | None:
    """Return the run that `init` opened last in this process and that is not finished."""
    return _open


def set_open_run(run: Run | None) -> None:
    """Make `run` the process's open run; `init` and `finish` call this."""
    global _open  # a process has one
    _open = run


@contextmanager
def bind(run: Run) -> Iterator[Run]:
    """Make `run` the current one of this thread or task, owned by whoever binds it.

    Inside, `init()` returns it, and `finish()` on it only flushes: the owner ends it after the block.
    """
    token = _bound.set(run)
    _bindings.append(run)
    run.owned += 1
    try:
        yield run
    finally:
        run.owned -= 1
        _bindings.remove(run)
        _bound.reset(token)
