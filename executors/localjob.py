"""A call that `local` was given: its state, its answer, what it printed, and its end."""

from __future__ import annotations

import pickle
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError, JobAborted, JobError, JobLost

from .localprocess import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.execution.law import JobState

__all__ = ["LocalJob"]

_GRACE = 2.0  # seconds that a cancelled call has to end its runs, before its process is killed
_LOOK = 0.05  # seconds between two looks at what a call printed


class LocalJob:
    """One submitted call.

    Attributes:
        id: names it in messages.
        call: its pickle; freed when it was sent.
        alone: whether no other call may have its worker afterwards.
    """

    def __init__(
        self, id: str, forget: Callable[[LocalJob], None], time_limit: float | None = None
    ) -> None:
        self.id = id
        self.call = b""
        self.alone = False
        self._forget = forget
        self._limit = time_limit
        self._state: JobState = "pending"
        self._value: Any = None
        self._error: JobError | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._why = ""
        self._output = b""
        self._listeners: list[Callable[[LocalJob], None]] = []

    def status(self) -> JobState:
        """Return its state now."""
        return self._state

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value.

        Raises:
            JobError: it raised, was cancelled (JobAborted) or its process died (JobLost).
            TimeoutError: not yet.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"job {self.id} is {self._state} after {timeout:g} s")
        if self._error is not None:
            raise self._error
        return self._value

    def cancel(self) -> None:
        """End the call; when this returns its process is gone, or it had ended before."""
        self._cancel("it was cancelled")

    def _cancel(self, why: str) -> None:
        self._forget(self)
        with self._lock:
            if self._ended.is_set():
                return
            self._why = self._why or why
            worker = self._worker
        if worker is None:
            self._end("aborted", error=JobAborted(f"job {self.id}: {why} before it began"))
            return
        worker.terminate(_GRACE)
        self._ended.wait()  # its slot sees the process gone

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yield what the call printed, line by line; with `follow`, until it ends."""
        seen, rest = 0, b""
        while True:
            ended = self._ended.is_set()
            fresh = self._printed(seen)
            seen += len(fresh)
            *lines, rest = (rest + fresh).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace")
            if ended or not follow:
                if rest:
                    yield rest.decode("utf-8", "replace")
                return
            self._ended.wait(_LOOK)

    def when_ended(self, call: Callable[[LocalJob], None]) -> None:
        """Call `call(job)` when the job has ended, from the thread that ends it; now if it has."""
        with self._lock:
            if not self._ended.is_set():
                self._listeners.append(call)
                return
        call(self)

    def fail(self, error: Exception) -> None:
        """End it before it began: it cannot be sent."""
        self._end("error", error=_caused(JobError(f"job {self.id}: {error}"), error))

    def run_in(self, worker: WorkerProcess | None) -> WorkerProcess | None:
        """Make the call in this worker, or in a new one; returns the worker if it can be used again."""
        timer: threading.Timer | None = None
        try:
            if worker is None or not worker.is_alive():
                if worker is not None:
                    worker.close()
                worker = WorkerProcess()
            with self._lock:
                if self._ended.is_set():
                    return worker
                self._worker = worker
            worker.wait_ready()
            if self._limit is not None:
                timer = threading.Timer(self._limit, self._cancel, (_over(self._limit),))
                timer.daemon = True
                timer.start()
            return self._ask(worker)
        except Exception as error:  # noqa: BLE001  no process to be had: the job says so
            if self._why:
                self._end("aborted", error=JobAborted(f"job {self.id}: {self._why}"))
            else:
                self.fail(error)
            return worker
        finally:
            if timer is not None:
                timer.cancel()

    def _ask(self, worker: WorkerProcess) -> WorkerProcess | None:
        self._state = "running"
        answer = worker.ask(self.call)
        self.call = b""
        with suppress(OSError):
            self._output = worker.read_output()
        if answer is not None and not self._why:
            self._finish(answer)
            if not self.alone and not _was_aborted(self._value):
                return worker
            worker.kill()  # with the threads of an aborted run, or modules of code that came along
            worker.close()
            return None
        worker.kill()
        how = worker.exit_text()
        worker.close()
        if answer is not None and self._value_of(answer):
            return None
        if self._why:
            self._end("aborted", error=JobAborted(f"job {self.id}: {self._why}"))
        else:
            self._end("lost", error=JobLost(f"job {self.id}: its worker process died ({how})"))
        return None

    def _value_of(self, answer: bytes) -> bool:
        """Take the value of a call that ended by itself while it was being cancelled."""
        if answer[:1] != b"v":
            return False
        self._finish(answer)
        return True

    def _finish(self, answer: bytes) -> None:
        try:
            if answer[:1] == b"v":
                self._end("completed", value=pickle.loads(answer[1:]))
                return
            said, text, carried = pickle.loads(answer[1:])
            cause = pickle.loads(carried) if carried else None
        except Exception as error:  # noqa: BLE001  a value whose class fails to load
            self.fail(ExecutorError(f"its result cannot be read here: {error}"))
            return
        told = JobError(f"job {self.id}: {said}\n{text}")
        self._end("error", error=_caused(told, cause))

    def _end(self, state: JobState, *, value: Any = None, error: JobError | None = None) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            self._state, self._value, self._error, self._worker = state, value, error, None
            self._ended.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(self)

    def _printed(self, start: int) -> bytes:
        with self._lock:
            worker, ended = self._worker, self._ended.is_set()
        if ended or worker is None:
            return self._output[start:]
        try:
            return worker.read_output(start)
        except (OSError, ValueError):
            time.sleep(_LOOK)
            return b""


def _was_aborted(value: Any) -> bool:
    """Whether a value is the outcome of a run that was aborted."""
    return isinstance(value, dict) and value.get("state") == "aborted"


def _over(limit: float) -> str:
    return f"it took longer than its time limit of {limit:g} s"


def _caused(error: JobError, cause: BaseException | None) -> JobError:
    error.__cause__ = cause
    return error
