"""A call that `ray` was given: its state, its value, its output and its end."""

from __future__ import annotations

import pickle
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError, JobAborted, JobError, JobLost

from .ray_logs import follow
from .ray_values import unpack_value
from .ray_worker import was_interrupted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlrun.execution.law import JobState

    from .ray_worker import Place

__all__ = ["RayTask", "cancel_all", "end_of"]

_GRACE = (
    1.0  # seconds that Python code has to end itself, and its run, before its process is killed
)
_FOREVER = 3600.0
_ALL = 2  # parts of a stream


class RayTask:
    """One submitted call.

    Args:
        id: names it in messages.
        stream: what the worker yields: the call's place, then its answer; None for a call that could not be sent.
        error: why it could not.
        time_limit: seconds that it may run.
    """

    def __init__(
        self,
        id: str,
        stream: Any,
        *,
        error: JobError | None = None,
        time_limit: float | None = None,
    ) -> None:
        self.id = id
        self._stream = stream
        self._done = None if stream is None else stream.completed()
        self._heard = 0  # parts of the stream that were taken
        self._state: JobState = "pending" if error is None else "error"
        self._value: Any = None
        self._error = error
        self._place: Place | None = None
        self._ends: tuple[int, ...] | None = None
        self._why = ""
        self._lock = threading.RLock()
        if time_limit is not None and stream is not None:
            watch = threading.Thread(target=self._limit, args=(time_limit,), daemon=True)
            watch.start()

    @classmethod
    def unsent(cls, id: str, error: Exception) -> RayTask:
        """Return a call that cannot be sent: it has ended in error."""
        told = JobError(f"job {id}: {error}")
        told.__cause__ = error
        return cls(id, None, error=told)

    def status(self) -> JobState:
        """Return its state now."""
        self.wait(0)
        return self._state

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value.

        Raises:
            JobError: it raised, was cancelled (JobAborted) or its process died (JobLost).
            TimeoutError: not yet.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"job {self.id} is {self.status()} after {timeout:g} s")
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; returns whether it has."""
        return self._hear(_ALL, timeout)

    def cancel(self) -> None:
        """End the call; when this returns its process is gone, or it had ended by itself."""
        cancel_all([self])

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yield what the call printed, line by line; with `follow`, until it ends."""
        return _follow(self, wait=follow)

    # -- what `cancel_all` and the executor use ------------------------------------------------

    def interrupt(self, why: str = "it was cancelled", *, force: bool = False) -> None:
        """Ask the call to end, or with `force` kill the process that makes it; does not wait."""
        import ray

        with self._lock:
            if self.wait(0):
                return
            self._why = self._why or why
            ray.cancel(self._stream, force=force)

    def place(self) -> Place | None:
        """Return where it runs; None before it has begun."""
        self.status()
        return self._place

    def ends(self) -> tuple[int, ...] | None:
        """Return where its output ends; None if it died, or runs."""
        return self._ends

    def sweep(self) -> None:
        """End what is left of a call that was cancelled, beside its own process: nothing."""

    def _limit(self, seconds: float) -> None:
        if self._hear(1, None) and not self.wait(seconds):
            cancel_all([self], f"it took longer than its time limit of {seconds:g} s")

    def _hear(self, parts: int, timeout: float | None) -> bool:
        """Wait until so many parts of the stream were taken, or the call has ended; returns whether that is so.

        The answer is waited for, not the end of Ray's task, which is known a round trip later. Of a call that is being
        cancelled the end is waited for: its stream counts as ended at once, and taking its error would block.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            stream, heard, why = self._stream, self._heard, self._why
            awaited = self._done if why else stream
            if stream is None or awaited is None or heard >= parts:
                return True
            left = None if until is None else max(0.0, until - time.monotonic())
            if not _is_ready(awaited, left):
                return False
            with self._lock:  # unless another thread was faster, or cancels it
                if self._heard == heard and self._why == why and self._stream is not None:
                    self._take()

    def _take(self) -> None:
        """Take the part that is ready: the place, then the answer; of a call that failed the last one is its error."""
        import ray

        try:
            part = ray.get(next(self._stream))
        except Exception as error:  # noqa: BLE001  killed, cancelled, or its value cannot be sent
            self._fail(error)
            return
        self._heard += 1
        if self._heard < _ALL:
            self._place, self._state = part, "running"
            return
        answer, self._ends = part
        try:
            self._value = value_of(answer, self.id)
            state: JobState = "completed"
        except JobError as error:
            state, self._error = state_of(error), error
        if was_interrupted(answer):
            self._look_at_end()  # its process ends with it
        self._state, self._stream, self._done = state, None, None

    def _look_at_end(self) -> None:
        """Have Ray know that its error was seen: it prints those that nobody has looked at."""
        import ray

        done: Any = self._done
        with suppress(Exception):
            ray.get(done)

    def _fail(self, error: Exception) -> None:
        self._look_at_end()
        self._error = end_of(error, self.id, self._why)
        self._state = state_of(self._error)
        self._stream = self._done = None


def cancel_all(jobs: Iterable[RayTask], why: str = "it was cancelled") -> None:
    """End calls; when this returns none of their processes makes them any more.

    Python code is interrupted, so that its run can end as `aborted`; what has not ended a second later, native code
    that sleeps among it, is killed with its process.
    """
    cancelled = left = [job for job in jobs if not job.wait(0)]
    for job in left:
        job.interrupt(why)
    until = time.monotonic() + _GRACE
    for job in left:
        job.wait(max(0.0, until - time.monotonic()))
    left = [job for job in left if not job.wait(0)]
    for job in left:
        job.interrupt(why, force=True)
    for job in left:
        job.wait(_FOREVER)
    for job in cancelled:
        job.sweep()


def value_of(answer: tuple[str, Any], id: str) -> Any:
    """Return the value that a worker answered with, or raise its error as `JobError`."""
    kind, content = answer
    if kind == "v":
        return unpack_value(content)
    if kind == "l":
        raise JobLost(f"job {id}: {content}")
    try:
        said, text, carried = pickle.loads(content[1:])
        cause = pickle.loads(carried) if carried else None
    except Exception as error:  # noqa: BLE001  an exception whose class fails to load
        said, text, cause = "the call raised", f"(its error cannot be read here: {error})", None
    told = JobError(f"job {id}: {said}\n{text}")
    raise _caused(told, cause)


def end_of(error: Exception, id: str, why: str) -> JobError:
    """Say what Ray's exception means for the call: it was cancelled, its process died, or it could not be made."""
    import ray.exceptions as raised

    died = (
        raised.WorkerCrashedError,
        raised.NodeDiedError,
        raised.OutOfMemoryError,
        raised.LocalRayletDiedError,
        raised.RayActorError,
        raised.ObjectLostError,
    )
    if why and isinstance(error, (raised.TaskCancelledError, raised.RayTaskError, *died)):
        return _caused(JobAborted(f"job {id}: {why}"), error)
    if isinstance(error, raised.TaskCancelledError):
        return _caused(JobAborted(f"job {id}: it was cancelled"), error)
    if isinstance(error, died):
        text = str(error).strip().splitlines() or [type(error).__name__]
        return _caused(JobLost(f"job {id}: its worker process died: {text[0]}"), error)
    if isinstance(error, raised.RuntimeEnvSetupError):
        return _caused(JobError(f"job {id}: its requirements cannot be installed: {error}"), error)
    if isinstance(error, raised.RayTaskError):
        return _of_worker(error, id)
    return _caused(JobError(f"job {id}: {type(error).__name__}: {error}"), error)


def _of_worker(error: Any, id: str) -> JobError:
    """Read an exception that came before our code did, or behind it."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ModuleNotFoundError) and (cause.name or "").startswith("mlrun"):
        told = ExecutorError(
            "the workers have no mlrun: put mlrun-arrow into their image or environment"
        )
        return _caused(JobError(f"job {id}: {told}"), told)
    if isinstance(cause, ExecutorError):
        return _caused(JobError(f"job {id}: {cause}"), cause)
    if isinstance(cause, KeyboardInterrupt):
        return _caused(JobAborted(f"job {id}: it was cancelled"), cause)
    said = f"its value cannot be sent: {type(cause).__name__}: {cause}"
    return _caused(JobError(f"job {id}: {said}\n{error}"), cause)


def state_of(error: JobError) -> JobState:
    """Return the state that an end means."""
    if isinstance(error, JobAborted):
        return "aborted"
    return "lost" if isinstance(error, JobLost) else "error"


def _is_ready(reference: Any, timeout: float | None) -> bool:
    import ray

    ready, _ = ray.wait([reference], timeout=timeout, fetch_local=False)
    return bool(ready)


def _follow(job: RayTask, *, wait: bool) -> Iterator[str]:
    return follow(job.place, job.ends, job.wait, wait=wait)


def _caused(error: JobError, cause: BaseException | None) -> JobError:
    error.__cause__ = cause
    return error
