"""Where a run is performed: which executor is meant, and this process's instance of it."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, ExecutorError
from mlrun.registry import executor_class

if TYPE_CHECKING:
    from mlrun.config import Settings
    from mlrun.execution.law import Executor
    from mlrun.store import Store

__all__ = ["HERE", "check_store", "chosen", "place"]

HERE = "local"  # the executor that is this process while somebody waits

_places: dict[tuple[int, str], Executor] = {}
_lock = threading.Lock()


def chosen(local: bool, executor: Any, known: Settings) -> Any:
    """Return the executor that is meant: its name, or the one that was given.

    Named, else `local=True`, else `MLRUN_EXECUTOR`, else `ray` when a cluster is configured or runs in this process,
    else `local`.

    Raises:
        ConfigError: local=True together with another executor.
    """
    if local:
        name = executor if isinstance(executor, str) else getattr(executor, "name", None)
        if executor is not None and name != HERE:
            raise ConfigError(
                f"local=True is executor='local': it cannot go with executor={name or executor!r}"
            )
        return executor if executor is not None and not isinstance(executor, str) else HERE
    if executor:
        return executor
    if known.executor:
        return known.executor
    return "ray" if _has_ray() else HERE


def _has_ray() -> bool:
    if os.environ.get("RAY_ADDRESS"):
        return True
    ray = sys.modules.get("ray")
    return bool(ray is not None and hasattr(ray, "is_initialized") and ray.is_initialized())


def place(executor: Any) -> Executor:
    """Return the executor of a name, one instance a process; an instance is returned as it is.

    Raises:
        ConfigError: no executor has this name. MissingExtra: what it needs is not installed.
    """
    if not isinstance(executor, str):
        if not hasattr(executor, "submit"):
            raise ConfigError(f"executor is a name or an Executor, not a {type(executor).__name__}")
        given: Executor = executor
        return given
    key = (os.getpid(), executor)
    with _lock:
        if key not in _places:
            _places[key] = executor_class(executor)()
        return _places[key]


def check_store(where: Executor, store: Store) -> None:
    """Refuse a store in a folder that the work cannot see.

    Raises:
        ExecutorError: names what to do instead.
    """
    if not where.shares_files:
        raise ExecutorError(
            f"executor {where.name!r} runs work on other hosts, which cannot see the store in {store.url}: "
            "start `mlrun server` and set MLRUN_DBPATH to its address"
        )


def _renew_after_fork() -> None:
    global _lock  # the parent's lock may have been held at the fork
    _lock = threading.Lock()
    _places.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
