"""Dispatch: brings tasks to where they are performed, once or again, while the caller waits or beside it."""

from __future__ import annotations

import atexit
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlrun.change import update_run
from mlrun.execution.abort import EXECUTOR_LABEL, JOB_LABEL, WORKER_LABEL
from mlrun.execution.announce import announce
from mlrun.execution.interrupt import go_on_with
from mlrun.execution.law import CanReattach, Needs
from mlrun.execution.perform import perform
from mlrun.execution.places import check_store, place
from mlrun.execution.retrypolicy import RetryPolicy
from mlrun.execution.telling import Told
from mlrun.execution.watching import settle, watch_job
from mlrun.tracking import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.execution.law import Executor, Job
    from mlrun.execution.task import Task
    from mlrun.store import Store

__all__ = ["Dispatch", "start_beside"]

_LEAVE = 10.0  # seconds that the interpreter's end waits for runs that are being cancelled


@dataclass
class Dispatch:
    """How tasks of one call of `fn.run` are performed.

    Attributes:
        store: where their runs are.
        where: the executor; None for this thread.
        needs: what they need there.
        limits: seconds by phase.
        retry: what happens when an attempt fails.
        follow: whether console lines are passed on to stderr.
        told: who is told of the end.
    """

    store: Store
    where: Executor | None = None
    needs: Needs | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    follow: bool = False
    told: Told = field(default_factory=Told)

    def perform(self, task: Task, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Perform a task to its end, as often as `retry` says; returns the last outcome.

        Raises:
            KeyboardInterrupt, SystemExit: ctrl-C, SIGTERM; the run has ended as `aborted`.
        """
        lifecycle.install()  # SIGTERM is an exception, not this process's end with the run open
        if self.where is not None:
            check_store(self.where, self.store)
        if self.retry.count:
            from mlrun.execution.attempts import perform_attempts

            outcome = perform_attempts(self, task, values)
        else:
            outcome = self.attempt(task, values)
        self.told.tell(task, outcome)
        if self.where is None:
            go_on_with(outcome)
        return outcome

    def attempt(self, task: Task, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Perform a task once, to its end."""
        if self.where is None:
            return perform(task.but(fresh=True, time_limit=self.limits.get("executing")), values)
        task = self._announced(task)
        return self._watched(task, self.submit(task, values), follow=self.follow)

    def submit(self, task: Task, values: Mapping[str, Any] | None = None) -> Job:
        """Hand an announced task to the executor; a job executor's task travels as JSON."""
        assert self.where is not None
        needs = self.needs or Needs()
        if not needs.name:
            needs = replace(needs, name=task.name)
        sent = task.but(worker=True, time_limit=self.limits.get("executing"))
        given = (sent, dict(values)) if values else (sent,)
        job = self.where.submit(perform, *given, needs=needs)
        if isinstance(self.where, CanReattach):  # other processes find the job again by this
            labels = {**task.labels, JOB_LABEL: job.id}
            update_run(self.store, task.run_id, labels=labels)
        return job

    def _announced(self, task: Task) -> Task:
        """Write the run as pending; its labels say where it is performed, so that any process can abort it."""
        assert self.where is not None
        place = {EXECUTOR_LABEL: self.where.name, WORKER_LABEL: True}
        task = task.but(labels={**task.labels, **place})
        return task.but(announced=announce(self.store, task))

    def start(self, task: Task, values: Mapping[str, Any] | None = None) -> None:
        """Perform a task beside the caller, who goes on at once."""
        if self.where is None:
            self.where = place("local")
        check_store(self.where, self.store)
        _install()
        if self.retry.count:
            announce(self.store, task)
            target: Any = self.perform
            thread = threading.Thread(target=target, args=(task, values), daemon=True)
        else:
            task = self._announced(task)
            try:
                job = self.submit(task, values)
            except Exception as error:
                settle(self.store, task, _unsent(error))
                raise
            thread = threading.Thread(target=self._finish, args=(task, job), daemon=True)
        thread.name = f"mlrun-watch-{task.run_id[-6:]}"
        _beside.add(thread)
        thread.start()

    def _finish(self, task: Task, job: Job) -> None:
        self.told.tell(task, self._watched(task, job))

    def _watched(self, task: Task, job: Job, follow: bool = False) -> dict[str, Any]:
        try:
            return watch_job(self.store, task, job, limits=self.limits, follow=follow)
        finally:
            _beside.discard(threading.current_thread())


def _unsent(error: Exception) -> Any:
    from mlrun.errors import JobError

    return JobError(f"it could not be submitted: {type(error).__name__}: {error}")


_beside: set[threading.Thread] = set()
_installed = False


def start_beside(name: str, work: Callable[[], Any], leave: Callable[[], None]) -> None:
    """Do work on a thread beside the caller; at the interpreter's end `leave` tells it to come to its own."""

    def perform() -> None:
        try:
            work()
        finally:
            _beside.discard(thread)

    lifecycle.install()  # what is registered last is called first: `leave`, then we wait, then runs are ended
    _install()
    atexit.register(leave)
    thread = threading.Thread(target=perform, name=name, daemon=True)
    _beside.add(thread)
    thread.start()


def _install() -> None:
    global _installed  # once a process
    if not _installed:
        _installed = True
        atexit.register(_leave)


def _leave() -> None:
    """Let the runs that go on beside a script that ends come to their end: what this process holds is cancelled."""
    if not _beside:
        return
    with suppress(Exception):
        place("local").close()
    end = time.monotonic() + _LEAVE
    for thread in list(_beside):
        thread.join(max(0.0, end - time.monotonic()))
