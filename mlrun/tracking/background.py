"""One background thread for all runs of a process: what takes milliseconds and may come later is done there.

The thread is a daemon, started by the first job and shared by every run, so that a run costs no thread. A forked child
begins without it.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["drain", "later", "submit"]

_LINGER = 5.0  # seconds that the thread waits for more before it ends


class _Queue:
    """Jobs by due time, and the thread that runs them."""

    def __init__(self) -> None:
        self.jobs: list[tuple[float, int, Callable[[], object]]] = []
        self.changed = threading.Condition(threading.Lock())
        self.count = 0  # tells jobs of one instant apart
        self.running = False
        self.busy = False

    def put(self, job: Callable[[], object], delay: float) -> None:
        with self.changed:
            self.count += 1
            heapq.heappush(self.jobs, (time.monotonic() + delay, self.count, job))
            if not self.running:
                self.running = True
                threading.Thread(target=self.work, name="mlrun-background", daemon=True).start()
            self.changed.notify_all()

    def work(self) -> None:
        while (job := self.take()) is not None:
            with suppress(Exception):  # a job says itself what failed; the next one must run
                job()
            with self.changed:
                self.busy = False
                self.changed.notify_all()

    def take(self) -> Callable[[], object] | None:
        """Wait for a job that is due; None when there was nothing to do for a while."""
        with self.changed:
            idle_until = time.monotonic() + _LINGER
            while True:
                now = time.monotonic()
                if self.jobs and self.jobs[0][0] <= now:
                    self.busy = True
                    return heapq.heappop(self.jobs)[2]
                if not self.jobs and now >= idle_until:
                    self.running = False
                    return None
                self.changed.wait((self.jobs[0][0] if self.jobs else idle_until) - now)

    def drain(self, timeout: float) -> bool:
        """Wait until what is due is done."""
        end = time.monotonic() + timeout
        with self.changed:
            while self.running and (
                self.busy or (self.jobs and self.jobs[0][0] <= time.monotonic())
            ):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(left)
            return True


_queue = _Queue()


def submit(job: Callable[[], object]) -> None:
    """Run a job soon, after those submitted before it."""
    _queue.put(job, 0.0)


def later(seconds: float, job: Callable[[], object]) -> None:
    """Run a job after so many seconds, if the process lives that long."""
    _queue.put(job, seconds)


def drain(timeout: float) -> bool:
    """Wait at most `timeout` seconds for the jobs that are due; False if some are not done."""
    return _queue.drain(timeout)


def _renew_after_fork() -> None:
    global _queue  # the parent's thread does not exist here, and its lock may be held
    _queue = _Queue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
