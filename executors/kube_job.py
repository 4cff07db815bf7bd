"""One call as a RayJob: its state, its result out of the log, its end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Literal

from mlrun.errors import ExecutorError, JobAborted, JobError, JobLost
from mlrun.execution.entry import Outcome, OutcomeReader

from .kube_client import pause
from .kube_logs import BROKEN, DashboardLog, KeptLog, PodLog, why_waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.execution.law import JobState

    from .kube_client import KubeClient
    from .kube_watch import KubeWatch

__all__ = ["KubeJob"]

JOBS = "rayjobs"
_ENDED = ("Complete", "Failed", "ValidationFailed")
_SETTLE = 20.0  # seconds that a log may lag behind the end of its job
_QUIET = 2  # reads of a whole log without anything new, after the end of its job
_GONE_TIMEOUT = 300.0
End = tuple[Literal["completed", "error", "aborted", "lost"], Any]


class KubeJob:
    """A RayJob that makes one call; a thread of its own follows it and keeps its log.

    Args:
        client: of the namespace.
        watch: which hears of it.
        name: of the RayJob.
        found: the RayJob as it was made or found; None for a call that could not be sent, with `failure`.
        failure: why it could not be sent.

    Attributes:
        id: the RayJob's name, by which any process finds it again.
    """

    def __init__(
        self,
        client: KubeClient | None,
        watch: KubeWatch | None,
        name: str,
        found: dict[str, Any] | None,
        failure: BaseException | None = None,
    ) -> None:
        self.id = name
        self._client, self._watch = client, watch
        self._uid = str(found["metadata"]["uid"]) if found else ""
        self._spec: dict[str, Any] = found["spec"] if found else {}
        self._log = KeptLog()
        self._reader = OutcomeReader()
        self._end: End | None = None
        self._changed = threading.Condition()
        self._cancelled = self._detached = False
        self._ran = False
        self._source: PodLog | DashboardLog | None = None
        self._job_id = ""  # of the attempt that is read
        if failure is not None or client is None or watch is None or found is None:
            self._finish("error", failure or ExecutorError("the call could not be sent"))
            return
        watch.note(found)
        watch.listen(name, self._heard)
        self._thread = threading.Thread(target=self._follow, name=f"mlrun-{name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Show name and state."""
        return f"KubeJob({self.id!r}, {self.status()})"

    def status(self) -> JobState:
        """Return its state, as the watch has heard last; see the law."""
        if (end := self._end) is not None:
            return end[0]
        status = self._status()
        if status.get("jobStatus") == "RUNNING" or self._reader.started:
            self._ran = True
        return "running" if self._ran else "pending"

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value; see the law."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._end is not None or self._detached, timeout):
                raise TimeoutError(f"{self.id} has not ended within {timeout:g} s")
            end = self._end
        if end is None:
            raise ExecutorError(f"{self.id}: the executor is closed, and no longer follows it")
        state, value = end
        if state == "completed":
            return value
        kind = {"aborted": JobAborted, "lost": JobLost}.get(state, JobError)
        cause = value.error if isinstance(value, Outcome) else value
        cause = cause if isinstance(cause, BaseException) else None
        text = value.traceback if isinstance(value, Outcome) else str(value)
        raise kind(f"{self.id}: {text.strip() or state}") from cause

    def cancel(self) -> None:
        """Delete the RayJob and all that it owns, and wait until it is gone; see the law."""
        if self._end is not None or self._client is None or self._watch is None:
            return
        if (now := self._client.get(JOBS, self.id)) is not None:
            self._watch.note(now)
        if self._status().get("jobDeploymentStatus") in _ENDED and self._settled():
            return  # it had ended, and only its log was not read to the end
        self._cancelled = True
        self._delete()
        self._finish("aborted", "it was cancelled")

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yield what the call printed; see the law."""
        return self._log.lines(follow=follow)

    def detach(self) -> None:
        """Stop to follow it; the work goes on."""
        self._detached = True
        if self._source is not None:
            self._source.interrupt()
        with self._changed:
            self._changed.notify_all()
        if self._end is None:
            self._thread.join(10.0)
            self._log.end()

    @property
    def _own_cluster(self) -> bool:
        return not self._spec.get("clusterSelector")

    def _status(self) -> dict[str, Any]:
        found = self._watch.get(self.id)[0] if self._watch else None
        return dict((found or {}).get("status") or {})

    def _watch_says_gone(self) -> bool:
        return self._watch is not None and self._watch.get(self.id)[1]

    def _settled(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._end is not None, _SETTLE + 5.0)

    def _delete(self) -> None:
        """Delete the RayJob, and wait until it and its work are gone."""
        assert self._client is not None
        assert self._watch is not None
        cluster, job_id = self._status().get("rayClusterName", ""), self._status().get("jobId", "")
        self._client.delete(JOBS, self.id, self._uid)
        deadline = time.monotonic() + _GONE_TIMEOUT
        attempt = 0
        while (found := self._client.get(JOBS, self.id)) and found["metadata"]["uid"] == self._uid:
            if time.monotonic() > deadline:
                raise ExecutorError(
                    f"{self.id} is still there {_GONE_TIMEOUT:g} s after its deletion"
                )
            self._watch.wait(pause(attempt, most=2.0), self._watch_says_gone)
            attempt += 1
        self._wait_for_work(cluster, job_id, deadline)

    def _wait_for_work(self, cluster: str, job_id: str, deadline: float) -> None:
        """Wait until nothing of it runs: its pods are gone, or Ray says that the job has ended."""
        assert self._client is not None
        attempt = 0
        while time.monotonic() < deadline:
            if not cluster or (
                self._own_cluster and not self._client.pods(f"ray.io/cluster={cluster}")
            ):
                return
            if not self._own_cluster:
                try:
                    state = DashboardLog(self._client, cluster, job_id).state()
                except BROKEN:
                    return  # no way to ask: the operator has stopped the job before it let the RayJob go
                if state not in ("PENDING", "RUNNING"):
                    return
            time.sleep(pause(attempt, most=2.0))
            attempt += 1

    def _finish(self, state: Any, value: Any) -> None:
        with self._changed:
            if self._end is None:
                self._end = (state, value)
            self._changed.notify_all()
        self._log.end()

    def _is_over(self) -> bool:
        """Whether nothing more will happen to the RayJob, or nobody wants to know."""
        ended = self._status().get("jobDeploymentStatus", "") in _ENDED
        return ended or self._watch_says_gone() or self._detached

    def _heard(self) -> None:
        # a log may be open for ever, though its job is over: a deadline stops no process
        if self._source is not None and self._is_over():
            self._source.interrupt()

    def _follow(self) -> None:
        try:
            self._read_to_the_end()
        except BaseException as error:  # noqa: BLE001 - a job that nobody follows must not stay running
            self._finish("lost", ExecutorError(f"{self.id} could not be followed: {error}"))

    def _read_to_the_end(self) -> None:
        attempt, quiet, ended_at = 0, 0, 0.0
        retries = self._spec.get("backoffLimit", 0)
        while not self._detached and self._end is None:
            status, gone = self._status(), self._watch_says_gone()
            deployment = status.get("jobDeploymentStatus", "")
            over = gone or deployment in _ENDED
            self._note_attempt(status.get("jobId", ""))
            progress, whole = self._read_log(status, follow=not over)
            outcome = self._reader.outcome
            if outcome is not None and (over or outcome.ok or not retries):
                self._finish(*_end_of(outcome))
            elif over:
                ended_at = ended_at or time.monotonic()
                quiet = quiet + 1 if whole and not progress else 0
                # whoever printed the log may lag behind, or be hard to reach
                if gone or quiet > _QUIET or time.monotonic() - ended_at > _SETTLE:
                    self._finish(*self._without_outcome(status, gone=gone))
            attempt = 0 if progress else attempt + 1
            if self._end is None:
                self._wait(pause(attempt, first=0.1, most=3.0), status)

    def _note_attempt(self, job_id: str) -> None:
        """Read anew when the operator tries again: it may do so faster than anybody sees `Retrying`."""
        if not job_id or job_id == self._job_id:
            return
        if self._job_id:
            self._reader, self._source = OutcomeReader(), None
        self._job_id = job_id

    def _wait(self, seconds: float, seen: dict[str, Any]) -> None:
        assert self._watch is not None
        self._watch.wait(seconds, lambda: self._status() != seen or self._watch_says_gone())

    def _read_log(self, status: dict[str, Any], *, follow: bool) -> tuple[bool, bool]:
        """Take what the log has: with `follow`, until it ends or breaks.

        Returns:
            Whether there was anything, and whether it was read to its end.
        """
        source = self._source = self._source or self._open_log(status)
        progress = False
        try:
            lines = source.read(follow=follow, over=self._is_over) if source is not None else ()
            for line in lines:
                progress = True
                if (rest := self._reader.rest_of(line)) is not None:
                    self._log.add(rest)
                if self._reader.outcome is not None or self._detached:
                    break
        except (*BROKEN, ExecutorError):
            return progress, False  # the next round goes on behind the last line
        return progress, True

    def _open_log(self, status: dict[str, Any]) -> PodLog | DashboardLog | None:
        assert self._client is not None
        mode, cluster = self._spec.get("submissionMode"), status.get("rayClusterName", "")
        if mode == "HTTPMode":
            job_id = status.get("jobId", "")
            ready = cluster and job_id and status.get("dashboardURL")
            return DashboardLog(self._client, cluster, job_id) if ready else None
        if mode == "SidecarMode":
            head = f"ray.io/cluster={cluster},ray.io/node-type=head"
            return PodLog(self._client, head, "ray-job-submitter") if cluster else None
        return PodLog(self._client, f"job-name={self.id}")

    def _without_outcome(self, status: dict[str, Any], *, gone: bool) -> End:
        """Say how a call ended that did not say it itself."""
        if gone or self._cancelled:
            who = "it was cancelled" if self._cancelled else "somebody deleted the RayJob"
            return ("aborted", who)
        reason, message = status.get("reason", ""), status.get("message", "")
        tail = "\n".join(self._log.tail(20))
        text = f"{reason}: {message}".strip(": ") + (f"\n{tail}" if tail else "")
        if reason in ("DeadlineExceeded", "PreRunningDeadlineExceeded"):
            if reason == "DeadlineExceeded" and status.get("jobStatus"):
                self._delete()  # the operator only gives up: the work would run on until the TTL
                return ("aborted", f"its time limit is over. {text}")
            assert self._client is not None
            waits = why_waiting(self._client, f"ray.io/cluster={status.get('rayClusterName', '')}")
            return ("error", ExecutorError(f"it did not start in time. {waits or text}"))
        if status.get("jobStatus") == "STOPPED":
            return ("aborted", f"it was stopped. {text}")
        if status.get("jobStatus") == "SUCCEEDED":
            return ("lost", f"it succeeded, but the log that had its value is gone. {text}")
        if self._reader.started or reason == "JobStatusCheckTimeoutExceeded":
            return ("lost", f"the process that made the call is gone. {text}")
        return ("error", ExecutorError(text or "the call was not made"))


def _end_of(outcome: Outcome) -> End:
    if outcome.ok:
        return ("completed", outcome.value)
    return ("aborted" if isinstance(outcome.error, JobAborted) else "error", outcome)
