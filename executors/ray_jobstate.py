"""A job of Ray's Jobs API: its state, its value out of its log, its end."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError, JobAborted, JobError, JobLost
from mlrun.execution.entry import Outcome, OutcomeReader

from .ray_jobtail import tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlrun.execution.law import JobState

__all__ = ["RayJob", "cancel_jobs"]

_FIRST, _MOST = 0.05, 1.0  # seconds between two looks at a job
_PATIENCE = (
    30.0  # seconds without an answer after which the cluster, and the job with it, counts as gone
)
_STOP = 1.0  # seconds after which a job that has not stopped is asked again
_QUEUED = 5.0  # seconds after which a job that has heard and is still pending waits for room
_TAIL = 20  # lines of the log that an error shows
_OWN = re.compile(r"^\S+ \S+\s+INFO \S*job_\w+\.py:\d+ -- |^Running entrypoint for job ")


class RayJob:
    """A submitted call or command.

    Args:
        client: of the Jobs API; None for a call that could not be sent, with `failure`.
        id: by which any process finds it again.
        is_call: whether it tells its value in its log.
        time_limit: seconds that a command may run; a call ends itself.
        failure: why it could not be sent.
    """

    def __init__(
        self,
        client: Any,
        id: str,
        *,
        is_call: bool = True,
        time_limit: float | None = None,
        failure: Exception | None = None,
    ) -> None:
        self.id = id
        self._client, self._is_call = client, is_call
        self._lock = threading.RLock()
        self._state: JobState = "pending"
        self._value: Any = None
        self._error: JobError | None = None
        self._why = ""
        self._silent_since: float | None = None
        self._heard_at = 0.0
        self._lines: list[str] = []
        self.has_ended = False
        if failure is not None:
            self._end("error", _caused(JobError(f"job {id}: {failure}"), failure))
        elif time_limit is not None:
            threading.Thread(target=self._limit, args=(time_limit,), daemon=True).start()

    def __repr__(self) -> str:
        """Show id and state."""
        return f"RayJob({self.id!r}, {self._state})"

    def status(self) -> JobState:
        """Return its state now."""
        if not self.has_ended:
            self._look()
        return self._state

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value.

        Raises:
            JobError: it raised, was cancelled (JobAborted) or its process died (JobLost).
            TimeoutError: not yet; the job goes on.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"job {self.id} is {self._state} after {timeout:g} s")
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; returns whether it has."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST
        while self.status() in ("pending", "running"):
            left = pause if until is None else min(pause, until - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
            pause = min(2 * pause, _MOST)
        return True

    def cancel(self) -> None:
        """End the job; when this returns its process is gone, or it had ended by itself."""
        cancel_jobs([self])

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yield what the job printed, line by line; with `follow`, until it ends."""
        reader, seen = OutcomeReader(), 0
        if follow and self._wait_begun():
            for line in tail(self._client, self.id):
                seen += 1
                if (shown := _shown(reader, line)) is not None:
                    yield shown
            self.wait()
        lines = self._lines if self.status() not in ("pending", "running") else self._read_log()
        for line in lines[seen:]:  # and what a connection that broke has left out
            if (shown := _shown(reader, line)) is not None:
                yield shown

    # -- what `cancel_jobs` uses -----------------------------------------------------------------

    def stop(self, why: str = "it was cancelled") -> None:
        """Ask the cluster to end it; does not wait."""
        self._why = self._why or why
        try:
            heard = self._client.stop_job(self.id)
        except (RuntimeError, OSError):
            self._look()
            return
        if not heard or self._state != "pending":
            return
        self._heard_at = self._heard_at or time.monotonic()
        if time.monotonic() - self._heard_at > _QUEUED:
            with self._lock:
                self._end("aborted", JobAborted(f"job {self.id}: {self._why} before it began"))

    # -- how it ends -----------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask the cluster."""
        try:
            info = self._client.get_job_info(self.id)
        except (RuntimeError, OSError) as error:
            self._unheard(error)
            return
        self._silent_since = None
        with self._lock:
            if self.has_ended:
                return
            if info.status.is_terminal():
                self._settle(info)
            elif str(info.status.value) == "RUNNING":
                self._state = "running"

    def _unheard(self, error: Exception) -> None:
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        gone = isinstance(error, RuntimeError) and "does not exist" in str(error)
        if gone or now - self._silent_since > _PATIENCE:
            said = f"job {self.id}: its cluster does not know it any more"
            with self._lock:
                self._end("lost", _caused(JobLost(said), error))

    def _settle(self, info: Any) -> None:
        """Read its end out of its log."""
        self._lines, reader = self._read_log(), OutcomeReader()
        shown = [s for line in self._lines if (s := _shown(reader, line)) is not None]
        status = str(info.status.value)
        if status == "STOPPED":
            self._end("aborted", JobAborted(f"job {self.id}: {self._why or 'it was stopped'}"))
        elif reader.outcome is not None:
            self._take(reader.outcome)
        elif status == "SUCCEEDED" and not self._is_call:
            self._end("completed", None)
        else:
            self._fail(info, reader, "\n".join(shown[-_TAIL:]))

    def _take(self, outcome: Outcome) -> None:
        if outcome.ok:
            self._value = outcome.value
            self._end("completed", None)
            return
        text = (
            f"job {self.id}: {type(outcome.error).__name__}: {outcome.error}\n{outcome.traceback}"
        )
        if isinstance(outcome.error, JobAborted):
            self._end("aborted", _caused(JobAborted(text), outcome.error))
        else:
            self._end("error", _caused(JobError(text), outcome.error))

    def _fail(self, info: Any, reader: OutcomeReader, shown: str) -> None:
        """Say how a job ended that did not say it itself."""
        code = info.driver_exit_code
        killed = code is not None and (code < 0 or code >= 128)
        said = f"job {self.id}: {(info.message or '').strip()}\n{shown}".rstrip()
        if (killed or (reader.started and self._is_call)) and not self._why:
            self._end("lost", JobLost(f"{said}\nthe process that did the work is gone"))
        elif self._why:
            self._end("aborted", JobAborted(f"job {self.id}: {self._why}"))
        elif "DIED" in (info.error_type or ""):
            self._end("lost", JobLost(said))
        else:
            self._end("error", _caused(JobError(said), ExecutorError(said)))

    def _end(self, state: JobState, error: JobError | None) -> None:
        if not self.has_ended:
            self._state, self._error, self.has_ended = state, error, True

    def _read_log(self) -> list[str]:
        if self._client is None:
            return []
        try:
            text = str(self._client.get_job_logs(self.id) or "")
        except (RuntimeError, OSError):
            return []  # its node is gone, or it has not begun
        return text.removesuffix("\n").split("\n") if text else []

    def _wait_begun(self) -> bool:
        while self.status() == "pending":
            time.sleep(_FIRST)
        return self._state == "running"

    def _limit(self, seconds: float) -> None:
        if self._wait_begun() and not self.wait(seconds):
            cancel_jobs([self], f"it took longer than its time limit of {seconds:g} s")


def cancel_jobs(jobs: Iterable[RayJob], why: str = "it was cancelled") -> None:
    """End jobs; when this returns none of them runs any more.

    A job that has just begun may not hear it: it is asked again. One that waits for room has heard it, and is ended by
    Ray in the moment that it gets its turn; its command leaves Ray the time for that.
    """
    left = [job for job in jobs if job.status() in ("pending", "running")]
    while left:
        for job in left:
            job.stop(why)
        until = time.monotonic() + _STOP
        while left and time.monotonic() < until:
            left = [job for job in left if job.status() in ("pending", "running")]
            time.sleep(_FIRST if left else 0)


def _shown(reader: OutcomeReader, line: str) -> str | None:
    """Return what the work printed in a line; None for a line of Ray's or of ours."""
    return None if _OWN.match(line) else reader.rest_of(line)


def _caused(error: JobError, cause: BaseException | None) -> JobError:
    error.__cause__ = cause
    return error
