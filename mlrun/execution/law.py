"""The law of executors: what `local`, `ray`, `ray-job`, `kuberay` and a stranger's executor promise.

`mlrun.testing.executors` checks it on every one of them.

Law.
    *Work.* `submit` returns at once with a `Job`. The call runs at most once: nothing is retried unless the caller asks
    for it, because an attempt that was half done is not undone. A call that cannot be sent (an argument that cannot be
    pickled, a resource that nobody has, a requirement that cannot be installed) fails as this job, with the reason;
    it never stays pending for ever and never takes others with it.
    *Values.* Arguments and results that are Arrow tables, record batches or NumPy arrays are shared, not copied, where
    the executor has shared memory (`shares_memory`); they are read-only. Job executors (`carries = "json"`) hand back
    JSON values only: everything large rests in the store.
    *States.* `status()` goes pending -> running -> one of completed, error, aborted, lost, and never back. `lost` means
    that whoever did the work is gone without a word. Asking costs milliseconds and works from any thread.
    *End.* `cancel()` ends the work for good: when it has returned, no instruction of the call runs any more, not even
    native code that sleeps; a call that had ended keeps its end. It is idempotent. `close()` cancels what is left.
    *Crash.* When the driver is killed, work on a cluster that outlives it may go on; what it logs is not lost. When a
    worker is killed, its job is `lost`, the executor stays usable, and other jobs are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["CanReattach", "CanSchedule", "Executor", "Job", "JobState", "Needs"]

JobState = Literal["pending", "running", "completed", "error", "aborted", "lost"]


@dataclass(frozen=True)
class Needs:
    """What a call needs of the place where it runs; executors ignore what they do not have, never silently.

    Attributes:
        num_cpus, num_gpus: cores and devices; None for the executor's default (one core, no device).
        memory: bytes; None for no claim.
        resources: custom resources by name.
        requirements: pip requirements; empty for what the place has.
        env: environment variables, values in clear: no secrets.
        secrets: names of environment variables -> references (`env:NAME`, `file:PATH`, `k8s:SECRET/KEY`),
            resolved where the work runs.
        image: container image, where there are containers.
        source: folder (or archive) of code that comes along and is put on `sys.path`; None for none.
        replicas: processes of a distributed function.
        node_selector: labels of nodes, where there are nodes.
        time_limit: seconds after which the call is cancelled; None for no limit.
        labels: facts for people who look at the cluster.
        name: what the job is called there; sanitized by the executor.
    """

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    source: str | None = None
    replicas: int = 1
    node_selector: Mapping[str, str] = field(default_factory=dict)
    time_limit: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


class Job(Protocol):
    """One submitted call."""

    id: str

    def status(self) -> JobState:
        """Return its state now."""
        ...

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value.

        Raises:
            JobError: the call raised; `.__cause__` is its exception where it could be carried, the remote traceback is
                part of the message. Its subclasses: JobAborted (it was cancelled), JobLost (whoever did the work died).
            TimeoutError: not yet; the job goes on.
        """
        ...

    def cancel(self) -> None:
        """End the work; see the law."""
        ...

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yield what the call printed, line by line; with `follow`, until it ends."""
        ...


class Executor(Protocol):
    """A place where calls run; see the law at the head of this module.

    Attributes:
        name: its name in `fn.run(executor=…)`.
        carries: "any" when arguments and results may be any picklable object, "json" when results are JSON.
        shares_memory: whether large Arrow and NumPy values reach the work without a copy.
        in_process: whether the call runs in the caller's process (its stdout and its run are the caller's).
        shares_files: whether a path of this host means the same file where the work runs.
    """

    name: ClassVar[str]
    carries: ClassVar[Literal["any", "json"]]
    shares_memory: ClassVar[bool]
    in_process: ClassVar[bool]

    @property
    def shares_files(self) -> bool:
        """Whether all work runs on this host, so that a store in a folder can be used."""
        ...

    @property
    def slots(self) -> int:
        """How many calls of the default size run at once."""
        ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, needs: Needs | None = None) -> Job:
        """Start `fn(*args)`."""
        ...

    def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        needs: Needs | None = None,
        in_flight: int | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Call `fn` on every item; yield (index, result or the `JobError`) as they end, at most `in_flight` at once.

        Items are drawn only when there is room, so that an endless iterator is fine; closing the iterator cancels what
        is in flight.
        """
        ...

    def close(self) -> None:
        """Cancel what is left and release everything that this instance started; idempotent."""
        ...


@runtime_checkable
class CanReattach(Protocol):
    """Its jobs outlive their driver: another process finds them again by id."""

    def job(self, job_id: str) -> Job:
        """Return the job of that id; NotFound if there is none."""
        ...


@runtime_checkable
class CanSchedule(Protocol):
    """It starts calls by the clock itself."""

    def schedule(
        self,
        name: str,
        cron: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        needs: Needs | None = None,
        time_zone: str = "",
    ) -> str:
        """Store the call under `name` (replacing an older one); returns what identifies it there."""
        ...

    def unschedule(self, name: str) -> bool:
        """Forget it; False if there is none."""
        ...
