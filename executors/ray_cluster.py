"""ray: calls as tasks of a Ray cluster, joined or started; meets the law in `mlrun.execution.law`.

A cluster is joined where `RAY_ADDRESS` names one, `ray.init()` was called or `ray start` left one on this host; else
one is started for this process (`ray_start`). Nothing is retried: Ray's own retries are off.

A call is sent as two pickles, function and arguments, with large values beside them as objects of the shared memory
(`ray_values`). `submit` sends it as a generator that first tells where it runs, which makes states and logs cheap;
`map` does without, for speed.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlrun.errors import ExecutorError, JobError
from mlrun.execution.law import Needs
from mlrun.execution.mapping import end_of_job, mapped
from mlrun.execution.pickling import dump_call
from mlrun.ids import uuid7

from . import ray_start
from .ray_needs import Nodes, absent_of, claim_of, runtime_env_of, source_of
from .ray_packages import install
from .ray_start import RayOptions
from .ray_task import RayTask, cancel_all, end_of, value_of
from .ray_values import LARGE, SharedValues, pack_value
from .ray_worker import Setup, plain_call, watched_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mlrun.hyper.study import Study

__all__ = ["RayExecutor"]

_DEFAULT = Needs()
_LOOK = 0.5  # seconds of one wait: an interrupt of this thread is raised between two
_PRUNE = 256  # jobs that are kept before those that have ended are let go
_QUEUED = 8  # calls of a map for each slot: the next ones lie ready where the last one ends


class RayExecutor:
    """Calls as Ray tasks.

    Args:
        address: `host:port` of a cluster; None for `RAY_ADDRESS`, a running one, or a new one of this host.
        num_cpus: cores of a new one.
        object_store_memory: bytes of shared memory of a new one.
        dashboard: whether a new one has its web page and the Jobs API, on 127.0.0.1.
    """

    name: ClassVar[str] = "ray"
    carries: ClassVar[Literal["any", "json"]] = "any"
    shares_memory: ClassVar[bool] = True
    in_process: ClassVar[bool] = False

    def __init__(
        self,
        address: str | None = None,
        *,
        num_cpus: int | None = None,
        object_store_memory: int | None = None,
        dashboard: bool = False,
    ) -> None:
        self._options = RayOptions(address, num_cpus, object_store_memory, dashboard)
        self._lock = threading.RLock()
        self._state = "new"
        self._pid = os.getpid()
        self._jobs: dict[str, RayTask] = {}
        self._nodes = Nodes()
        self._remote: dict[str, Any] = {}
        self._shared = SharedValues(lambda value: self._ray().put(value))
        self._sources: dict[str, Any] = {}
        self._installed: dict[str, Any] = {}

    @property
    def shares_files(self) -> bool:
        """Whether all nodes are this host."""
        self._ray()
        return self._nodes.are_this_host()

    @property
    def slots(self) -> int:
        """How many calls of one core run at once."""
        self._ray()
        return max(1, int(self._nodes.total("CPU")))

    def submit(self, fn: Callable[..., Any], /, *args: Any, needs: Needs | None = None) -> RayTask:
        """Start `fn(*args)` on the cluster; returns at once."""
        ray = self._ray()
        asked, id = needs or _DEFAULT, uuid7()
        try:
            if asked.replicas > 1:
                from .train import submit_replicas

                job: RayTask = submit_replicas(
                    id, fn, args, partial(self._crew, asked), self._shared, asked.time_limit
                )
            else:
                remote, setup, before = self._ready("watched", asked)
                shared: list[Any] = []
                sent = dump_call(fn, ()), self._arguments(args, shared)
                stream = remote.remote(setup, *sent, *shared, *before)
                job = RayTask(id, stream, time_limit=asked.time_limit)
        except (ExecutorError, JobError, ValueError, TypeError, ray.exceptions.RayError) as error:
            return RayTask.unsent(id, error)  # a call that cannot be sent fails as this job
        with self._lock:
            if len(self._jobs) >= _PRUNE:
                self._jobs = {k: j for k, j in self._jobs.items() if not j.wait(0)}
            self._jobs[id] = job
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
        ray = self._ray()
        asked = needs or _DEFAULT
        room = in_flight or _QUEUED * self.slots
        if asked.replicas > 1 or asked.time_limit is not None:
            return self._map_jobs(fn, items, asked, room)

        def ended(flying: list[Any]) -> list[tuple[Any, Any]]:
            ready, _ = ray.wait(flying, num_returns=1, timeout=_LOOK)
            return [(one, _end(one)) for one in ready]

        return mapped(items, room, self._sender(fn, asked), ended, _cancel_references)

    def check_tuning(self, scheduler: str, search: str, extra: Mapping[str, Any]) -> None:
        """See that Ray Tune knows a scheduler, a searcher and their arguments; see `mlrun.hyper.study`."""
        from .tune_names import check_names

        check_names(scheduler, search, extra)

    def tune(self, study: Study) -> None:
        """Perform a study by Ray Tune; see `mlrun.hyper.study`."""
        self._ray()
        from .tune import perform_study

        _, setup, before = self._ready("plain", study.needs or _DEFAULT)
        if before:
            raise ExecutorError("strategy 'tune' needs its requirements to be installed")
        perform_study(study, setup, self.slots)

    def close(self) -> None:
        """Cancel what is left; end the cluster if this process started it and nobody else uses it. Idempotent."""
        with self._lock:
            before, self._state = self._state, "closed"
            jobs, self._jobs = list(self._jobs.values()), {}
        if before != "open" or self._pid != os.getpid():
            return
        import ray

        if ray.is_initialized():
            cancel_all(jobs)
            self._shared.clear()
            self._sources.clear()
        ray_start.release()

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- how a call is sent ------------------------------------------------------------------

    def _ray(self) -> Any:
        """Return Ray, with a session."""
        if self._state != "open" or self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    raise ExecutorError(
                        "a Ray session does not survive fork(): make an executor of its own"
                    )
                if self._state == "closed":
                    raise ExecutorError("the executor is closed")
                if self._state == "new":
                    ray_start.acquire(self._options)
                    self._prepare()
                    self._state = "open"
        import ray

        return ray

    def _prepare(self) -> None:
        import ray

        remote: Any = ray.remote
        once = {"max_retries": 0, "num_cpus": 1}
        self._remote = {
            "plain": remote(**once)(plain_call),
            "install": remote(num_cpus=0, max_retries=0)(install),
            "watched": remote(num_returns="streaming", **once)(watched_call),
        }

    def _ready(self, kind: str, needs: Needs) -> tuple[Any, Setup, list[Any]]:
        """Return Ray's function for calls with these needs, what they find in their worker, and what they wait for."""
        claim = claim_of(needs)
        self._nodes.check(claim)
        here = self._nodes.are_this_host()
        paths, cwd = (tuple(p for p in sys.path if p), os.getcwd()) if here else ((), "")
        if needs is _DEFAULT:
            return self._remote[kind], Setup(paths, cwd), []
        source, archive = source_of(needs)
        if source and source not in self._sources:
            self._sources[source] = self._ray().put(archive)
        environment = runtime_env_of(needs, source, here=here)
        if environment:
            claim["runtime_env"] = environment
        if needs.name:
            claim["name"] = needs.name
        setup = Setup(
            paths,
            cwd,
            secrets=dict(needs.secrets),
            source=source,
            archive=(self._sources[source],) if source else (),
        )
        before = (
            [self._installing(absent_of(needs, here=True), environment["py_executable"])]
            if "py_executable" in environment
            else []
        )
        return self._remote[kind].options(**claim), setup, before

    def _crew(self, needs: Needs, function: bytes, arguments: bytes, shared: list[Any]) -> Any:
        """Return the ranks of a call with replicas."""
        from .train import Crew

        _, setup, before = self._ready("plain", needs)
        claim = claim_of(needs)
        each = {"CPU": claim["num_cpus"], **claim.get("resources", {})}
        each |= {k: claim[o] for k, o in (("GPU", "num_gpus"), ("memory", "memory")) if o in claim}
        for name, amount in each.items():
            if (there := self._nodes.total(name)) < amount * needs.replicas:
                raise ExecutorError(
                    f"{needs.replicas} replicas need {name} {amount * needs.replicas:g}, and the cluster has {there:g}"
                )
        source, _ = source_of(needs)
        environment = runtime_env_of(needs, source, here=self._nodes.are_this_host())
        self._ray().get(before)
        labels = claim.get("label_selector", {})
        return Crew(needs.replicas, each, labels, environment, setup, function, arguments, shared)

    def _installing(self, requirements: list[str], python: str) -> Any:
        """Return the reference of the environment with these requirements: who waits for it fails if it does."""
        failed = python in self._installed and _has_failed(self._installed[python])
        if python not in self._installed or failed:
            self._installed[python] = self._remote["install"].remote(sorted(requirements), python)
        return self._installed[python]

    def _arguments(self, args: tuple[Any, ...], shared: list[Any]) -> bytes:
        """Pickle arguments; large values go to `shared` as references."""

        def share(value: Any, owner: Any) -> int:
            shared.append(self._shared.put(value, owner))
            return len(shared) - 1

        return dump_call(tuple, pack_value(args, share))

    def _sender(self, fn: Callable[[Any], Any], needs: Needs) -> Callable[[Any], Any]:
        """Return what sends one item and gives its reference, or the `JobError` that kept it from being sent."""
        try:
            remote, setup, before = self._ready("plain", needs)
            function: Any = dump_call(fn, ())
        except (ExecutorError, ValueError, TypeError) as error:
            refused = error
            return lambda _: _unsent(refused)
        if len(function) >= LARGE:
            function = self._ray().put(function)

        def send(item: Any) -> Any:
            shared: list[Any] = []
            try:
                sent = self._arguments((item,), shared)
                return remote.remote(setup, function, sent, *shared, *before)
            except (ExecutorError, ValueError, TypeError) as error:
                return _unsent(error)

        return send

    def _map_jobs(
        self, fn: Callable[[Any], Any], items: Iterable[Any], needs: Needs, room: int
    ) -> Iterator[tuple[int, Any]]:
        """Map by whole jobs, for what tasks cannot do: replicas and time limits."""

        def send(item: Any) -> RayTask:
            return self.submit(fn, item, needs=needs)

        def ended(flying: list[RayTask]) -> list[tuple[RayTask, Any]]:
            return [(job, end_of_job(job)) for job in flying if job.wait(0.02)]

        return mapped(items, room, send, ended, cancel_all)


def _has_failed(reference: Any) -> bool:
    import ray

    if not ray.wait([reference], timeout=0)[0]:
        return False
    try:
        ray.get(reference)
    except ray.exceptions.RayError:
        return True
    return False


def _unsent(error: Exception) -> JobError:
    told = JobError(f"it cannot be sent: {error}")
    told.__cause__ = error
    return told


def _end(reference: Any) -> Any:
    """Return the value of a call that has ended, or its `JobError`."""
    import ray

    id = reference.hex()[:16]
    try:
        return value_of(ray.get(reference), id)
    except JobError as error:
        return error
    except Exception as error:  # noqa: BLE001  killed, or its value cannot be sent
        return end_of(error, id, "")


def _cancel_references(references: list[Any]) -> None:
    if not references:
        return
    import ray

    if not ray.is_initialized():
        return
    for force in (False, True):
        for reference in references:
            ray.cancel(reference, force=force)
        _, references = ray.wait(
            references,
            num_returns=len(references),
            timeout=None if force else 1.0,
            fetch_local=False,
        )
        if not references:
            return
