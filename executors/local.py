"""local: calls in worker processes of this host, no cluster needed; meets the law in `mlrun.execution.law`.

Worker processes are started when the first calls come, kept warm, and replaced when they die. While somebody waits for
a run (`fn.run(local=True)`), it is performed in the caller's own process and none of this is used; the pool is for
calls beside it: parallel iterations, `watch=False`, steps of workflows.

Nothing is reserved: cores, memory and devices that a call asks for are not counted here, images, replicas and node
selectors do not exist, and a warning says so once. Requirements must be installed; a call that needs others fails.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlrun.errors import ExecutorError
from mlrun.execution.law import Needs
from mlrun.execution.mapping import end_of_job, mapped
from mlrun.execution.pickling import dump_call
from mlrun.ids import uuid7

from .localjob import LocalJob
from .localneeds import around, check_needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .localprocess import WorkerProcess

__all__ = ["LocalExecutor"]

_LOOK = 0.2  # seconds; Polars has ctrl-C restart a wait without an end
_live: weakref.WeakSet[LocalExecutor] = weakref.WeakSet()


class LocalExecutor:
    """A pool of worker processes.

    Args:
        slots: how many calls run at once; default the cores that this process may use.
    """

    name: ClassVar[str] = "local"
    carries: ClassVar[Literal["any", "json"]] = "any"
    shares_memory: ClassVar[bool] = False
    in_process: ClassVar[bool] = False

    def __init__(self, slots: int | None = None) -> None:
        self._slots = slots or _cores()
        self._lock = threading.Condition()
        self._renew()
        _live.add(self)

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._waiting: deque[LocalJob] = deque()
        self._jobs: weakref.WeakSet[LocalJob] = weakref.WeakSet()
        self._threads: list[threading.Thread] = []
        self._idle = 0

    @property
    def shares_files(self) -> bool:
        """Always: everything runs on this host."""
        return True

    @property
    def slots(self) -> int:
        """How many calls run at once."""
        return self._slots

    def submit(self, fn: Callable[..., Any], /, *args: Any, needs: Needs | None = None) -> LocalJob:
        """Start `fn(*args)` in a worker process; returns at once."""
        job = LocalJob(uuid7(), self._forget, (needs or Needs()).time_limit)
        try:
            check_needs(needs)
            job.alone = bool(needs and needs.source)
            job.call = dump_call(fn, args, around(needs))
        except Exception as error:  # noqa: BLE001  a call that cannot be sent fails as this job
            job.fail(error)
            return job
        with self._lock:
            if self._pid != os.getpid():  # a forked child has none of its parent's workers
                self._renew()
            if self._closed:
                raise ExecutorError("the executor is closed")
            self._jobs.add(job)
            self._waiting.append(job)
            if not self._idle and len(self._threads) < self._slots:
                thread = threading.Thread(target=self._serve, name="mlrun-local", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._lock.notify()
        return job

    def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        needs: Needs | None = None,
        in_flight: int | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Call `fn` on every item; yield (index, result or the `JobError`) as they end."""
        rung: deque[LocalJob] = deque()
        bell = threading.Condition()

        def ring(job: LocalJob) -> None:
            with bell:
                rung.append(job)
                bell.notify()

        def send(item: Any) -> LocalJob:
            job = self.submit(fn, item, needs=needs)
            job.when_ended(ring)
            return job

        def ended(flying: list[LocalJob]) -> list[tuple[LocalJob, Any]]:
            with bell:
                if not rung:
                    bell.wait(_LOOK)
                return [
                    (job, end_of_job(job)) for job in (rung.popleft() for _ in range(len(rung)))
                ]

        return mapped(items, in_flight or self._slots, send, ended, _cancel)

    def close(self) -> None:
        """Cancel what is left, end the worker processes; idempotent."""
        with self._lock:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
            jobs, threads = list(self._jobs), list(self._threads)
            self._lock.notify_all()
        for job in jobs:
            job.cancel()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(10)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self, job: LocalJob) -> None:
        """Take a job that is cancelled out of the queue."""
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)

    def _serve(self) -> None:
        """Run one slot: a worker process, and the calls that it makes, until the executor closes."""
        worker: WorkerProcess | None = None
        try:
            while (job := self._next()) is not None:
                worker = job.run_in(worker)
        finally:
            if worker is not None:
                worker.close()

    def _next(self) -> LocalJob | None:
        with self._lock:
            self._idle += 1
            try:
                while not self._waiting:
                    if self._closed:
                        return None
                    self._lock.wait()
                return self._waiting.popleft()
            finally:
                self._idle -= 1


def _cancel(jobs: list[LocalJob]) -> None:
    for job in jobs:
        job.cancel()


def _cores() -> int:
    count = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count else os.cpu_count() or 1


def _close_all() -> None:
    for executor in list(_live):
        executor.close()


atexit.register(_close_all)
