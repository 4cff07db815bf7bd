"""Absorbing beside the work: a worker that performs run after run answers first, and tidies up once for many."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from mlrun.tracking import background

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["absorb_later"]

_SECONDS = 0.3  # that the records of a run may wait in the journal, where every reader finds them
_due: set[tuple[int, str]] = set()
_lock = threading.Lock()


def absorb_later(store: Store) -> None:
    """Absorb the store's records soon, on the background thread; calls meanwhile ask for no second time.

    What a process that dies before leaves is absorbed by the next one that absorbs.
    """
    key = (os.getpid(), store.url)
    with _lock:
        if key in _due:
            return
        _due.add(key)

    def absorb() -> None:
        with _lock:
            _due.discard(key)
        with suppress(
            Exception
        ):  # the records are in the journal: who absorbs next meets the same trouble
            store.absorb_records_now()
            store.maybe_absorb()

    background.later(_SECONDS, absorb)


def _renew_after_fork() -> None:
    global _lock  # the parent's lock may have been held at the fork
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
