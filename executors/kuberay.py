"""kuberay: calls as RayJobs on Kubernetes, through KubeRay's operator.

Each call is a RayJob, on a cluster of its own (made for it, deleted after it) or on one that is there (`cluster=`). Its
state is watched, its log followed and kept here, its result read out of that log; `cancel` deletes it. A RayJob
outlives the driver, and any process finds it again by its name. What KubeRay cannot give is refused, never dropped.
"""

from __future__ import annotations

import re
import threading
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlrun.errors import ConfigError, ExecutorError, JobError, NotFound
from mlrun.execution.law import Needs
from mlrun.execution.mapping import mapped

from .kube_client import MARK, KubeClient
from .kube_job import JOBS, KubeJob
from .kube_manifests import MANAGED, ray_cluster, ray_cron_job, ray_job
from .kube_names import CRON_LIMIT, JOB_LIMIT, kube_name
from .kube_options import KubeOptions
from .kube_payload import payload
from .kube_validate import Schemas, check_rules
from .kube_watch import KubeWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["KubeRayExecutor"]

_CRONS = "raycronjobs"
_LOOK = 0.5  # seconds of one wait: an interrupt of this thread is raised between two
_SELECTOR = ",".join(f"{k}={v}" for k, v in MANAGED.items())


class KubeRayExecutor:
    """Runs calls as RayJobs; meets `mlrun.execution.law.Executor`, `CanReattach` and `CanSchedule`.

    Args:
        options: fields of `KubeOptions`; what is not given is taken from `MLRUN_KUBE_*`.

    Raises:
        ConfigError: an option is unknown or has no meaning.
        ExecutorError: there is no cluster to talk to.
    """

    name: ClassVar[str] = "kuberay"
    carries: ClassVar[Literal["any", "json"]] = "json"
    shares_memory: ClassVar[bool] = False
    in_process: ClassVar[bool] = False

    def __init__(self, **options: Any) -> None:
        self.options = KubeOptions.read(**options)
        self._schemas = Schemas(self.options.crds) if self.options.crds else None
        self._client = KubeClient(self.options)
        self._watch = KubeWatch(self._client, JOBS, _SELECTOR)
        self._jobs: list[KubeJob] = []
        self._lock = threading.Lock()
        self._closed = False

    def __repr__(self) -> str:
        """Show where it makes its jobs."""
        return f"KubeRayExecutor(namespace={self._client.namespace!r})"

    @property
    def shares_files(self) -> bool:
        """Whether pods see this host's files; see `KubeOptions`."""
        return self.options.shares_files

    @property
    def slots(self) -> int:
        """How many jobs `map` has in flight; the cluster itself has no such number."""
        return self.options.slots

    def submit(self, fn: Callable[..., Any], /, *args: Any, needs: Needs | None = None) -> KubeJob:
        """Make a RayJob that calls `fn(*args)`; see the law."""
        if self._closed:
            raise ExecutorError("kuberay: the executor is closed")
        asked = needs or Needs()
        base = asked.name or getattr(fn, "__name__", "call")
        mark = uuid.uuid4().hex
        name = f"{kube_name(base, JOB_LIMIT - 9)}-{mark[:8]}"
        try:
            call = payload(fn, args, asked, shares_files=self.shares_files)
            manifest = ray_job(name, call, self.options, asked)
            manifest["metadata"].setdefault("annotations", {})[MARK] = mark
            self._check(manifest)
            found = self._client.create(JOBS, manifest)
        except (ExecutorError, ConfigError) as error:
            return KubeJob(None, None, name, None, error)
        return self._followed(found)

    def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        needs: Needs | None = None,
        in_flight: int | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Call `fn` on every item, at most `in_flight` at once; see the law."""
        jobs: dict[Future[Any], KubeJob] = {}

        def send(item: Any) -> Future[Any]:
            job = self.submit(fn, item, needs=needs)
            jobs[future := _future(job)] = job
            return future

        def ended(flying: list[Future[Any]]) -> list[tuple[Future[Any], Any]]:
            done = wait(flying, timeout=_LOOK, return_when=FIRST_COMPLETED).done
            for future in done:
                del jobs[future]
            return [(future, future.result()) for future in done]

        def cancel(flying: list[Future[Any]]) -> None:
            for future in flying:
                jobs[future].cancel()

        return mapped(items, max(1, in_flight or self.slots), send, ended, cancel)

    def job(self, job_id: str) -> KubeJob:
        """Find a job again by its id, from any process.

        Raises:
            NotFound: there is none, or none of ours.
        """
        found = self._client.get(JOBS, job_id)
        if found is None or MARK not in (found["metadata"].get("annotations") or {}):
            raise NotFound(f"no job {job_id!r} in namespace {self._client.namespace}")
        return self._followed(found)

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
        """Make a RayCronJob, or replace the one of this name; returns its name on Kubernetes.

        Raises:
            ConfigError: `cron` is not five fields nor `@hourly` and the like.
            ExecutorError: the call cannot be sent.
        """
        if not re.fullmatch(
            r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every \S+)|\S+( \S+){4}", cron
        ):
            raise ConfigError(
                f"schedule {name!r}: {cron!r} is not a cron expression of five fields"
            )
        asked = needs or Needs(name=name)
        call = payload(fn, args, asked, shares_files=self.shares_files, durable=True)
        kube = kube_name(name, CRON_LIMIT)
        manifest = ray_cron_job(kube, cron, call, self.options, asked, time_zone=time_zone)
        manifest["metadata"].setdefault("annotations", {})[MARK] = uuid.uuid4().hex
        self._check(manifest)
        self._client.replace(_CRONS, manifest)
        return kube

    def unschedule(self, name: str) -> bool:
        """Delete the RayCronJob of this name; False if there is none."""
        return self._client.delete(_CRONS, kube_name(name, CRON_LIMIT))

    def make_cluster(self, name: str, needs: Needs | None = None) -> str:
        """Make a RayCluster that stays, or replace the one of this name; `cluster=` of another executor names it."""
        kube = kube_name(name)
        manifest = ray_cluster(kube, self.options, needs or Needs())
        manifest["metadata"].setdefault("annotations", {})[MARK] = uuid.uuid4().hex
        self._check(manifest)
        self._client.replace("rayclusters", manifest)
        return kube

    def delete_cluster(self, name: str) -> bool:
        """Delete the RayCluster of this name; False if there is none."""
        return self._client.delete("rayclusters", kube_name(name))

    def detach(self) -> None:
        """Let the jobs go on, and release everything else: `job(id)` of another executor finds them again."""
        with self._lock:
            self._closed, jobs = True, list(self._jobs)
        self._watch.close()
        for job in jobs:
            job.detach()
        self._client.close()

    def close(self) -> None:
        """Cancel what is left and release everything; idempotent."""
        if self._closed:
            return
        with self._lock:
            jobs = list(self._jobs)
        try:
            for job in jobs:
                job.cancel()
        finally:
            self.detach()

    def _check(self, manifest: dict[str, Any]) -> None:
        if self._schemas is not None:
            self._schemas.check(manifest)
        elif found := check_rules(manifest):
            raise ExecutorError(f"{manifest['kind']} is not valid: {'; '.join(found)}")

    def _followed(self, found: dict[str, Any]) -> KubeJob:
        self._watch.start()
        job = KubeJob(self._client, self._watch, found["metadata"]["name"], found)
        with self._lock:
            self._jobs = [j for j in self._jobs if j.status() in ("pending", "running")]
            self._jobs.append(job)
        return job


def _future(job: KubeJob) -> Future[Any]:
    """Return a future of a job's value, or of the JobError that it ended with."""
    future: Future[Any] = Future()

    def settle() -> None:
        try:
            future.set_result(job.result())
        except JobError as error:
            future.set_result(error)
        except BaseException as error:  # noqa: BLE001 - told to whoever asks the future
            future.set_exception(error)

    threading.Thread(target=settle, name=f"mlrun-wait-{job.id}", daemon=True).start()
    return future
