"""ray-job: calls and commands as jobs of Ray's Jobs API, which outlive their driver; meets the law of executors.

The call is written down as text (`mlrun.execution.entry`), travels in the job's environment, and tells its end in
marked lines of the job's log: so its value is JSON, and everything large rests in the store. Source, requirements and
variables make the job's runtime_env. Secrets travel as references and are read where the work runs.

The API is found at `RAY_API_SERVER_ADDRESS`, at `RAY_ADDRESS` if that is http(s), or in this process's own session. Its
token is the one that Ray itself takes: `RAY_AUTH_MODE=token` with `RAY_AUTH_TOKEN` or `RAY_AUTH_TOKEN_PATH`.
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlrun.errors import ConfigError, ExecutorError, NotFound
from mlrun.execution.entry import CALL, COMMAND
from mlrun.execution.law import Needs
from mlrun.execution.mapping import end_of_job, mapped
from mlrun.ids import uuid7

from .kube_payload import payload
from .ray_jobstate import RayJob, cancel_jobs
from .ray_needs import absent_of, claim_of, runtime_env_of, unmet
from .ray_packages import python_with
from .ray_start import dashboard_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["RayJobExecutor"]

_LOOK = 0.2  # seconds between two looks at the jobs of a map
_NODES = 10.0  # seconds that a list of nodes is believed
_PREFIX = "mlrun-"
_BREATH = "sleep 0.1; "  # a job that was stopped while it waited is started all the same, and killed at once


class RayJobExecutor:
    """Calls as jobs of a Ray cluster's Jobs API.

    Args:
        address: `http(s)://host:8265`; None for what the environment or this process's session says.
    """

    name: ClassVar[str] = "ray-job"
    carries: ClassVar[Literal["any", "json"]] = "json"
    shares_memory: ClassVar[bool] = False
    in_process: ClassVar[bool] = False

    def __init__(self, address: str | None = None) -> None:
        self._given = address
        self._lock = threading.RLock()
        self._made: Any = None
        self._closed = False
        self._jobs: dict[str, RayJob] = {}
        self._nodes: tuple[float, list[dict[str, Any]]] = (0.0, [])

    def __repr__(self) -> str:
        """Show where it submits to."""
        return f"RayJobExecutor({self._given!r})"

    @property
    def shares_files(self) -> bool:
        """Whether all nodes are this host."""
        here = socket.gethostname()
        return all(node["host"] == here for node in self._alive())

    @property
    def slots(self) -> int:
        """How many calls of one core run at once."""
        return max(1, int(sum(node["resources"].get("CPU", 0) for node in self._alive())))

    def submit(self, fn: Callable[..., Any], /, *args: Any, needs: Needs | None = None) -> RayJob:
        """Submit a job that calls `fn(*args)`; returns when the cluster has taken it."""
        self._client()
        asked, id = needs or Needs(), _PREFIX + uuid7()
        try:
            _check(asked)
            call = payload(fn, args, replace(asked, source=None), shares_files=self.shares_files)
            return self._send(id, None, asked, {CALL: call})
        except (ExecutorError, ConfigError) as error:
            return RayJob(None, id, failure=error)

    def submit_command(self, command: str | Sequence[str], needs: Needs | None = None) -> RayJob:
        """Submit a plain command or script; its value is None, and another exit code than 0 is its error.

        Args:
            command: a line for the shell, or words that are quoted for it.
            needs: its `source` is the folder where the command runs.
        """
        self._client()
        asked, id = needs or Needs(), _PREFIX + uuid7()
        line = command if isinstance(command, str) else shlex.join(command)
        try:
            _check(asked)
            return self._send(id, line, asked, {})
        except (ExecutorError, ConfigError) as error:
            return RayJob(None, id, failure=error)

    def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        needs: Needs | None = None,
        in_flight: int | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Call `fn` on every item, a job each; yield (index, result or the `JobError`) as they end."""

        def send(item: Any) -> RayJob:
            return self.submit(fn, item, needs=needs)

        def ended(flying: list[RayJob]) -> list[tuple[RayJob, Any]]:
            found = [(job, end_of_job(job)) for job in flying if job.status() not in _OPEN]
            if not found:
                time.sleep(_LOOK)
            return found

        return mapped(items, in_flight or self.slots, send, ended, cancel_jobs)

    def job(self, job_id: str) -> RayJob:
        """Find a job again by its id, from any process.

        Raises:
            NotFound: there is none.
        """
        try:
            info = self._client().get_job_info(job_id)
        except RuntimeError as error:
            raise NotFound(f"no job {job_id!r} on {self._address()}") from error
        return self._kept(RayJob(self._client(), job_id, is_call=COMMAND_MARK in info.entrypoint))

    def detach(self) -> None:
        """Let the jobs go on: `job(id)` of another executor finds them again."""
        with self._lock:
            self._closed = True
            self._jobs.clear()

    def close(self) -> None:
        """Cancel what is left; idempotent."""
        with self._lock:
            jobs, self._jobs = list(self._jobs.values()), {}
            self._closed = True
        cancel_jobs(jobs)

    def __enter__(self) -> RayJobExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- how a job is sent -------------------------------------------------------------------

    def _address(self) -> str:
        named = (
            self._given,
            os.environ.get("RAY_API_SERVER_ADDRESS"),
            os.environ.get("RAY_ADDRESS"),
        )
        for address in (*named, dashboard_url()):
            if address and address.startswith(("http://", "https://")):
                return address.rstrip("/")
        raise ExecutorError(
            "no Jobs API is known: set RAY_API_SERVER_ADDRESS=http://HOST:8265 (`ray start --head` serves one)"
        )

    def _client(self) -> Any:
        with self._lock:
            if self._closed:
                raise ExecutorError("the executor is closed")
            if self._made is None:
                from ray.job_submission import JobSubmissionClient

                for name in (
                    "job.sdk",
                    "dashboard_sdk",
                ):  # they tell of every upload and connection
                    logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
                address = self._address()
                try:
                    self._made = JobSubmissionClient(address)
                except Exception as error:
                    said = str(error).strip().splitlines() or [type(error).__name__]
                    raise ExecutorError(f"no Jobs API at {address}: {said[0]}") from error
            return self._made

    def _send(self, id: str, line: str | None, needs: Needs, variables: dict[str, str]) -> RayJob:
        claim = claim_of(needs)
        if lacking := unmet(claim, self._alive()):
            raise ExecutorError(lacking)
        environment = runtime_env_of(needs, "", here=self.shares_files)
        environment.pop("py_executable", None)  # a job starts its Python itself
        if variables:
            environment["env_vars"] = {**environment.get("env_vars", {}), **variables}
        if needs.source:
            environment["working_dir"] = os.path.expanduser(needs.source)
        options = {
            "entrypoint_num_cpus": claim["num_cpus"],
            "entrypoint_num_gpus": claim.get("num_gpus"),
            "entrypoint_memory": claim.get("memory"),
            "entrypoint_resources": claim.get("resources"),
            "entrypoint_label_selector": claim.get("label_selector"),
        }
        facts = {str(k): str(v) for k, v in {**needs.labels, "mlrun/name": needs.name}.items() if v}
        try:
            self._client().submit_job(
                entrypoint=_BREATH + self._place(needs) + (line or self._entrypoint(needs)),
                submission_id=id,
                runtime_env=environment,
                metadata=facts,
                **{k: v for k, v in options.items() if v is not None},
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise ExecutorError(f"the Jobs API did not take it: {_last_line(error)}") from error
        job = RayJob(
            self._client(), id, is_call=line is None, time_limit=needs.time_limit if line else None
        )
        return self._kept(job)

    def _place(self, needs: Needs) -> str:
        """Return what goes to this process's folder, where it is there too and no other code comes along."""
        return "" if needs.source or not self.shares_files else f"cd {shlex.quote(os.getcwd())} && "

    def _entrypoint(self, needs: Needs) -> str:
        """Return what starts the call: this very Python where the cluster is this host."""
        if not self.shares_files:
            return f"exec {COMMAND}"
        here = shlex.quote(sys.executable)
        if not (absent := absent_of(needs, here=True)):
            return f"exec {COMMAND.replace('python', here, 1)}"
        python = shlex.quote(python_with(absent))
        make = f"{here} -m mlrun.executors.ray_packages {python} {shlex.join(absent)}"
        return f"{make} && exec {COMMAND.replace('python', python, 1)}"

    def _kept(self, job: RayJob) -> RayJob:
        with self._lock:
            self._jobs = {k: j for k, j in self._jobs.items() if not j.has_ended}
            self._jobs[job.id] = job
        return job

    def _alive(self) -> list[dict[str, Any]]:
        """Return host, resources and labels of the nodes that live."""
        with self._lock:
            asked, found = self._nodes
            if not found or time.monotonic() - asked > _NODES:
                found = _nodes_of(self._client())
                self._nodes = (time.monotonic(), found)
            return found


_OPEN = ("pending", "running")
COMMAND_MARK = COMMAND.removeprefix("python ")


def _check(needs: Needs) -> None:
    if odd := [r for r in needs.secrets.values() if not r.startswith(("env:", "file:"))]:
        raise ExecutorError(
            f"secret {odd[0]}: 'ray-job' reads env:NAME and file:PATH where the work runs"
        )
    if needs.source and not os.path.exists(os.path.expanduser(needs.source)):
        raise ExecutorError(f"source {needs.source!r} is not there")


def _nodes_of(client: Any) -> list[dict[str, Any]]:
    """Ask the dashboard for its nodes; it has no public call that tells their hosts."""
    answer = client._do_request("GET", "/nodes?view=summary")
    if answer.status_code != 200:
        raise ExecutorError(f"the cluster does not tell its nodes: {answer.status_code}")
    nodes = [node["raylet"] for node in answer.json()["data"]["summary"]]
    return [
        {
            "host": node.get("nodeManagerHostname", ""),
            "resources": node.get("resourcesTotal") or {},
            "labels": node.get("labels") or {},
        }
        for node in nodes
        if node.get("state") == "ALIVE"
    ]


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
