"""Hooks: code that is told when a handler begins and ends; framework integrations log through them.

A hook is any object with `begin(run)` and `end(run, error)`. Hooks see the open run, so they may log to it; what they
raise is warned about and never ends a run. They are called in the process that performs the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mlrun.tracking.run import Run

__all__ = ["Hook", "add_hook", "ended", "remove_hook", "started"]


class Hook(Protocol):
    """What is told of handlers."""

    def begin(self, run: Run) -> None:
        """Prepare: the handler of `run` is about to be called."""
        ...

    def end(self, run: Run, error: BaseException | None) -> None:
        """Log what is left: the handler has returned, or raised `error`; the run is still open."""
        ...


_hooks: list[Hook] = []


def add_hook(hook: Hook) -> None:
    """Have `hook` told of every handler of this process from now on; once is enough."""
    if hook not in _hooks:
        _hooks.append(hook)


def remove_hook(hook: Hook) -> None:
    """Tell it no more."""
    if hook in _hooks:
        _hooks.remove(hook)


def started(run: Run) -> None:
    """Tell the hooks that a handler is about to be called."""
    for hook in _hooks:
        try:
            hook.begin(run)
        except Exception as error:  # noqa: BLE001  a broken integration costs its logs, not the run
            run.warn(f"hook:{type(hook).__name__}", f"hook {type(hook).__name__}: {error}")


def ended(run: Run, error: BaseException | None) -> None:
    """Tell the hooks that it has ended."""
    for hook in _hooks:
        try:
            hook.end(run, error)
        except Exception as failure:  # noqa: BLE001  as above
            run.warn(f"hook:{type(hook).__name__}", f"hook {type(hook).__name__}: {failure}")
