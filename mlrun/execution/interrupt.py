"""Interrupting the handler of a run in its own process: when the run is aborted, or its time is over.

One thread of the process looks four times a second at the runs that have been performed for a while. The state that
`RunView.abort()` wrote in any process is found in the store; the handler is then interrupted by an exception,
`RunAborted`, a KeyboardInterrupt, so that `finally` and `with` blocks run and `except Exception` does not hide it.

In the main thread it is raised by a signal, which ends a native sleep or read, too. The signal is SIGURG: it is ignored
by default, so that one that comes late does nothing. In any other thread Python raises it before the next instruction;
native code there is not disturbed. A worker's process that has not come to an end after a grace is left by the hard
way: the run is ended as aborted, and the process exits.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.tracking.run import Run

__all__ = ["Guard", "RunAborted", "asked_why", "go_on_with", "guarded"]

_LOOK = 0.25  # seconds between two looks
_AGAIN = 1.0  # seconds between two interrupts of one handler that caught the first
_GRACE = 5.0  # seconds that a worker's handler has to come to its end
_LINGER = 5.0  # seconds that the thread waits for more runs
_SIGNAL = getattr(signal, "SIGURG", None)


class RunAborted(KeyboardInterrupt):
    """The run was aborted, or its time is over; its text says which."""


@dataclass
class Guard:
    """A handler that is being performed.

    Attributes:
        run: its run.
        thread: the thread that it runs on.
        deadline: when its time is over, by the monotonic clock; None for never.
        expendable: whether its process may be ended to end it.
        once: interrupt it only once: what it does then takes its time.
        why: why it is interrupted; empty while it is not.
    """

    run: Run
    thread: int
    deadline: float | None = None
    limit: float | None = None
    expendable: bool = False
    once: bool = False
    why: str = ""
    since: float = field(default_factory=time.monotonic)
    noticed: float = 0.0
    told: float = 0.0

    def check(self) -> None:
        """Raise if the run is to end; for code that waits in small steps."""
        if self.why:
            raise RunAborted(self.why)

    def interrupt(self, why: str) -> None:
        """Interrupt it now, for a reason that is not in the store."""
        self.why, self.noticed, self.told = why, time.monotonic(), time.monotonic()
        if id(self) in _guards:
            _tell(self)


_guards: dict[int, Guard] = {}
_changed = threading.Condition(threading.Lock())
_watching = False
_installed = False


@contextmanager
def guarded(
    run: Run, *, time_limit: float | None = None, expendable: bool = False, once: bool = False
) -> Iterator[Guard]:
    """Interrupt the block when the run is aborted or `time_limit` (seconds) is over.

    Raises:
        RunAborted: inside the block.
    """
    guard = Guard(run, threading.get_ident(), limit=time_limit, expendable=expendable, once=once)
    if time_limit is not None:
        guard.deadline = guard.since + time_limit
    _install()
    key = id(guard)
    _guards[key] = guard
    _watch()
    try:
        yield guard
    except KeyboardInterrupt as interrupt:
        # native code that polls for signals knows no kinds of interrupt: Ray raises a plain one in place of ours
        if not guard.told or isinstance(interrupt, RunAborted):
            raise
        raise RunAborted(guard.why) from None
    finally:
        try:
            _guards.pop(key, None)
        finally:  # the interrupt itself may come between the two words above
            _guards.pop(key, None)


def _install() -> None:
    global _installed  # a process has one handler
    if _installed or _SIGNAL is None or threading.get_ident() != threading.main_thread().ident:
        return
    with suppress(ValueError):  # the main thread of a subinterpreter
        if signal.getsignal(_SIGNAL) in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(_SIGNAL, _on_signal)
            _installed = True


def _on_signal(number: int, frame: object) -> None:
    main = threading.main_thread().ident
    for guard in list(_guards.values()):
        if guard.thread == main and guard.why:
            raise RunAborted(guard.why)


def _watch() -> None:
    global _watching  # a process has one thread
    if _watching:
        return
    with _changed:
        if not _watching:
            _watching = True
            threading.Thread(target=_look_on, name="mlrun-abort", daemon=True).start()


def _look_on() -> None:
    global _watching  # the thread ends when there was nothing to look at for a while
    idle_since = time.monotonic()
    while True:
        time.sleep(_LOOK)
        now = time.monotonic()
        for guard in list(_guards.values()):
            idle_since = now
            if now - guard.since >= _LOOK:
                with suppress(Exception):  # a busy store: the next look is soon
                    _look_at(guard, now)
        if now - idle_since > _LINGER:
            with _changed:
                if not _guards:
                    _watching = False
                    return


def _look_at(guard: Guard, now: float) -> None:
    if not guard.why:
        guard.why = _reason(guard, now)
        guard.noticed = now
    if not guard.why:
        return
    if guard.expendable and now - guard.noticed > _GRACE:
        _leave(guard)
    if guard.told and guard.once:
        return
    if now - guard.told >= _AGAIN and id(guard) in _guards:
        guard.told = now
        _tell(guard)


def _reason(guard: Guard, now: float) -> str:
    if guard.deadline is not None and now >= guard.deadline:
        return f"it took longer than its time limit of {guard.limit:g} s"
    return asked_why(guard.run)


def asked_why(run: Run) -> str:
    """Return why somebody asked the run to abort; empty when nobody did."""
    store = run.store
    if store is None:
        return ""
    rows: list[dict[str, Any]] = store.records.lookup(RUNS, {"run_id": run.id})
    if rows and rows[0]["state"] in ("aborting", "aborted"):
        return rows[0]["error"] or "it was aborted"
    return ""


def go_on_with(outcome: Mapping[str, Any]) -> None:
    """Raise the interrupt that ended a run of this thread again: ctrl-C and SIGTERM are meant for the whole program.

    Raises:
        KeyboardInterrupt, SystemExit: as they came; nothing after any other end.
    """
    if outcome["state"] == "aborted" and outcome["error"] == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if outcome["state"] == "aborted" and outcome["error"] == "SIGTERM":
        raise SystemExit(143)


def _tell(guard: Guard) -> None:
    if guard.thread == threading.main_thread().ident and _installed and _SIGNAL is not None:
        signal.pthread_kill(guard.thread, _SIGNAL)
        return
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(guard.thread), ctypes.py_object(RunAborted)
    )


def _leave(guard: Guard) -> None:
    """End a worker's process whose handler does not listen."""
    guard.run.end("aborted", guard.why)
    os._exit(143)


def _renew_after_fork() -> None:
    global _changed, _watching  # threads stay with the parent, and so do its runs
    _changed = threading.Condition(threading.Lock())
    _watching = False
    _guards.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
