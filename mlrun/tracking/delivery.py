"""Waiting for a gateway's acknowledgement: the one place where tracking waits for a network, and not for long."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mlrun import notices

if TYPE_CHECKING:
    from mlrun.tracking.run import Run

__all__ = ["begin", "deliver", "deliver_left"]

_AFTER_FAILURE = 1.0  # seconds, once a wait of this process was in vain
_PATIENT = 2.0  # seconds without a word on stderr
_spools: dict[
    str, tuple[Any, float]
] = {}  # stores that were written to, and how long they may be waited for
_vain: set[str] = set()  # stores that did not acknowledge in time


def deliver(run: Run) -> None:
    """Wait up to `MLRUN_FINISH_TIMEOUT` until what this process has written has arrived; says so when it has not.

    Only the first wait that is in vain takes that long; a store that is a folder is never waited for.
    """
    store = run.store
    if store is None or not store.spools:
        return
    if store.offline:
        return
    told = False

    def progress(seconds: float) -> None:
        nonlocal told
        if seconds > _PATIENT and not told and not run.settings.quiet:
            told = True
            notices.say(f"waiting for {store.url} …")

    timeout = run.settings.finish_timeout
    if store.url in _vain:
        timeout = min(timeout, _AFTER_FAILURE)
    if store.deliver(timeout, progress=progress):
        _vain.discard(store.url)
        if count := store.left_out(run.id):
            told_keys = (
                f"{store.url} left out {count:,} points: the run has more metric keys than it may"
            )
            run.warn("keys", told_keys)
        return
    _vain.add(store.url)
    run.warn(
        "delivery",
        f"{store.url} has not acknowledged everything{store.trouble()}: it is safe in {store.folder} and is sent "
        "when the gateway answers, or by `mlrun sync`",
    )


def begin(store: Any, timeout: float) -> None:
    """Start sending what a run writes to a store behind a network; remember to wait for it at the end."""
    if store is not None and store.spools:
        store.maybe_absorb()
        if not store.offline:
            _spools[store.url] = (store, timeout)


def deliver_left() -> None:
    """At the interpreter's end: wait for what runs that nobody waited for have written, as long as `finish()` would."""
    for url, (store, timeout) in list(_spools.items()):
        store.deliver(min(timeout, _AFTER_FAILURE) if url in _vain else timeout)
    _spools.clear()


def _after_fork() -> None:
    _spools.clear()  # they are the parent's to wait for


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
