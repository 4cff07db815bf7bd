"""Imports on threads of ours, kept away from forks.

A child that is forked while another thread imports a module inherits the lock of that module, and nobody there to open
it: its own import of the same module waits for ever. The threads here start with imports, and programs fork workers
right after `init`; so a fork waits until such an import is done.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["importing"]

_PATIENCE = 2.0  # seconds that a fork waits; an import that hangs must not hold up a program

_lock = threading.RLock()
_forking: set[int] = set()  # threads that hold the lock for a fork


@contextmanager
def importing() -> Iterator[None]:
    """Let no fork happen in the block: it imports modules that a forked child may want, on a thread of ours."""
    with _lock:
        yield


def _before_fork() -> None:
    if _lock.acquire(timeout=_PATIENCE):
        _forking.add(threading.get_ident())


def _after_in_parent() -> None:
    if threading.get_ident() in _forking:
        _forking.discard(threading.get_ident())
        _lock.release()


def _after_in_child() -> None:
    global _lock  # the parent's thread does not exist here
    _lock = threading.RLock()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
