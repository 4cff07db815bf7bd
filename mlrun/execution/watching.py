"""Watching a job that performs a run: its log passes by, its limits are kept, its end is recorded whatever it was."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.errors import JobAborted, JobError, JobLost, NotFound
from mlrun.execution.joblog import keep_log
from mlrun.execution.states import ENDED, IllegalMove, move, read_row
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.law import Job
    from mlrun.execution.task import Task
    from mlrun.store import Store

__all__ = ["Follower", "settle", "watch_job"]

_LOOK = 0.2  # seconds between two looks
_GRACE = (
    3.0  # seconds that a run has to end by itself when it is aborted, before its job is cancelled
)
_FIRST_LINES = 0.5  # seconds before the log is looked at: most runs are over by then


def watch_job(
    store: Store,
    task: Task,
    job: Job,
    *,
    limits: Mapping[str, float] | None = None,
    follow: bool = False,
) -> dict[str, Any]:
    """Wait for the job that performs `task`, and see that its run ends.

    An abort from any process, or a phase that takes too long, cancels the job. A job that failed or died leaves a run
    in `error` or `aborted`, never in `running`.

    Args:
        store: where the run is.
        task: what is performed.
        job: who performs it.
        limits: seconds by phase, see `mlrun.execution.thresholds`.
        follow: pass the run's console lines on to stderr.

    Returns:
        The outcome, as `perform` returns it.
    """
    watch = _Watch(store, task, job, limits or {})
    lines = Follower(store, task.run_id) if follow else None
    try:
        while (outcome := watch.look()) is None:
            if lines is not None and watch.age() > _FIRST_LINES:
                lines.look()
    except (KeyboardInterrupt, SystemExit):
        watch.stop("interrupted where it was started")
        raise
    if lines is not None and outcome.get("lines", 1) > lines.seen:
        lines.look(outcome.get("printed"))
    return outcome


class _Watch:
    """What the driver knows of one job."""

    def __init__(self, store: Store, task: Task, job: Job, limits: Mapping[str, float]) -> None:
        self.store, self.task, self.job, self.limits = store, task, job, limits
        self.began = time.monotonic()
        self.ran: float | None = None
        self.asked: float | None = None

    def age(self) -> float:
        return time.monotonic() - self.began

    def look(self) -> dict[str, Any] | None:
        """Wait a moment; returns the outcome if there is one."""
        try:
            found: dict[str, Any] = self.job.result(_LOOK)
        except TimeoutError:
            self._tend()
            return None
        except JobError as error:
            keep_log(self.store, self.task.project, self.task.run_id, self.job)
            return settle(self.store, self.task, error)
        return found

    def _tend(self) -> None:
        now, status = time.monotonic(), self.job.status()
        if self.ran is None and status == "running":
            self.ran = now
        with suppress(NotFound, IllegalMove):
            if self.asked is None and (why := self._over(now, status)):
                move(self.store, self.task.run_id, "aborting", error=why)
        if self.asked is None and self._is_aborting():
            self.asked = now
        if self.asked is not None and (status == "pending" or now - self.asked > _GRACE):
            self.job.cancel()

    def _is_aborting(self) -> bool:
        rows = self.store.records.lookup(RUNS, {"run_id": self.task.run_id})
        return bool(rows) and rows[0]["state"] in ("aborting", "aborted")

    def _over(self, now: float, status: str) -> str:
        if status == "pending":
            phases = ("pending_scheduled", "pending_not_scheduled", "image_pull_backoff")
            since, known = self.began, [p for p in phases if p in self.limits]
            phase = min(known, key=lambda p: self.limits[p], default="")
        else:
            since, phase = self.ran or now, "executing"
        limit = self.limits.get(phase)
        if limit is None or now - since <= limit:
            return ""
        return f"it was {phase} for longer than {limit:g} s"

    def stop(self, why: str) -> None:
        """Abort the run and its job: nobody waits for it any more."""
        with suppress(NotFound, IllegalMove):
            move(self.store, self.task.run_id, "aborting", error=why)
        self.job.cancel()
        settle(self.store, self.task, JobAborted(why))


def settle(store: Store, task: Task, error: JobError) -> dict[str, Any]:
    """End the run of a job that failed, unless it has ended by itself; returns the outcome."""
    row = read_row(store, task.run_id)
    aborting = row["state"] == "aborting" or isinstance(error, JobAborted)
    state = "aborted" if aborting else "error"
    said = (row["error"] if aborting else None) or _said(error)
    try:
        move(store, task.run_id, state, error=said)
    except IllegalMove as illegal:
        if illegal.state not in ENDED:
            raise
        state, said = illegal.state, row["error"]
    return {
        "run_id": task.run_id, "state": state, "results": {}, "error": said,
        "iteration": task.iteration,
    }  # fmt: skip


def _said(error: JobError) -> str:
    from mlrun.redact import redact_text

    text = redact_text(str(error))
    return f"the process that ran it is gone: {text}" if isinstance(error, JobLost) else text


class Follower:
    """Passes the console lines of a run on to stderr, each once.

    Attributes:
        seen: how many lines were passed on.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.seen = 0
        self._store, self._run_id = store, run_id

    def look(self, known: list[str] | None = None) -> None:
        """Pass on what is new; `known` are all lines, where the outcome has brought them."""
        from mlrun.query import logs

        with suppress(Exception):  # a log that cannot be read now is read at the next look
            lines = known or logs(self._store, self._run_id)["line"].to_list()
            fresh, self.seen = lines[self.seen :], max(self.seen, len(lines))
            if fresh and sys.stderr is not None:
                sys.stderr.write("".join(f"{line}\n" for line in fresh))
                sys.stderr.flush()
