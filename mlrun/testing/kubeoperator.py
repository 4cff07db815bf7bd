"""KubeRay's operator for the test API server: it makes RayJobs go the way that the real one makes them go.

A RayJob gets a finalizer, an id and a cluster's name and is Initializing; its cluster becomes ready, a submitter's pod
appears and it is Running; Ray's job ends and it is Complete or Failed. Time limits, suspension, TTL, retries, deletion
with the finalizer that stops the job, and the ticks of a RayCronJob follow the same rules as in KubeRay 1.6. What the
real operator refuses is ValidationFailed.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from mlrun.testing.kubepods import KubePods
from mlrun.testing.kuberunner import JobsRun, Log, ProcessRun, missing_requirements, through_shell
from mlrun.testing.kubestore import KubeError, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.testing.kuberunner import Run
    from mlrun.testing.kubestore import KubeStore

__all__ = ["KubeOperator"]

_FINALIZER = "ray.io/rayjob-finalizer"
_JOBS, _CLUSTERS, _CRONS = "rayjobs", "rayclusters", "raycronjobs"
_NAME_LIMIT = 47


@dataclass
class _Job:
    """What the operator knows of a RayJob beside the resource."""

    log: Log = field(default_factory=Log)
    run: Run | None = None
    pod: str = ""
    began: float = 0.0
    ended: float = 0.0


class KubeOperator:
    """A thread that reconciles all RayJobs and RayCronJobs of a store.

    Args:
        store: the resources.
        env: variables of every process, such as `RAY_ADDRESS`.
        dashboard: URL of a Ray dashboard: entrypoints run as its jobs, not as processes.
        dashboard_token: for it.
        hold: keep clusters from becoming ready, until it is set to False.
        every: seconds between two ticks of a RayCronJob, whatever its schedule says.
        waiting: why a cluster's pods do not start, as a reason of Kubernetes (`ErrImagePull`).
        delete_after_ttl: whether the RayJob itself goes with its cluster.
        hide_retrying: begin another attempt without the state between, as a slow watcher sees it.
    """

    def __init__(
        self,
        store: KubeStore,
        *,
        env: Mapping[str, str] | None = None,
        dashboard: str = "",
        dashboard_token: str = "",
        hold: bool = False,
        every: float = 0.0,
        waiting: str = "",
        delete_after_ttl: bool = False,
        hide_retrying: bool = False,
    ) -> None:
        self.hold, self.every, self.waiting = hold, every, waiting
        self.delete_after_ttl, self.hide_retrying = delete_after_ttl, hide_retrying
        self._env, self._dashboard, self._token = dict(env or {}), dashboard, dashboard_token
        self._store, self._pods = store, KubePods(store, waiting)
        self._jobs: dict[str, _Job] = {}  # by uid
        self._ticked: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kube-operator", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with everything that runs."""
        self._stop.set()
        self._thread.join(30)
        for job in self._jobs.values():
            if job.run is not None:
                job.run.stop()
            job.log.end()

    def processes(self) -> list[int]:
        """Return the processes of jobs that run."""
        return [
            job.run.pid
            for job in self._jobs.values()
            if isinstance(job.run, ProcessRun) and job.run.state()[0] == "RUNNING"
        ]

    def log_of(self, pod: Mapping[str, Any], container: str) -> Log | None:
        """Return the log of a container, None while it has not started."""
        statuses = pod.get("status", {}).get("containerStatuses", [])
        found = next((s for s in statuses if s["name"] == container), None)
        if found is None or "waiting" in found["state"]:
            return None
        for job in self._jobs.values():
            if job.pod == pod["metadata"]["name"]:
                return job.log
        return None

    def dashboard(self, cluster: str, path: str, token: str) -> dict[str, Any]:
        """Answer for the dashboard of a cluster: a job's state and log."""
        parts = path.split("/")
        for item, _ in self._items(_JOBS):
            status = item.get("status", {})
            job = self._jobs.get(item["metadata"]["uid"])
            if status.get("rayClusterName") != cluster or parts[2] != status.get("jobId"):
                continue
            if job is None or job.run is None:
                break
            auth = item["spec"].get("rayClusterSpec", {}).get("authOptions", {})
            if auth.get("mode") == "token" and token != f"token-of-{cluster}":
                raise KubeError(401, "Unauthorized: Missing authentication token")
            if parts[3:] == ["logs"]:
                return {"logs": job.log.text()}
            return {"status": job.run.state()[0]}
        raise KubeError(404, f"Job {parts[2]} does not exist")

    def _run(self) -> None:
        while not self._stop.wait(0.03):
            for item, namespace in self._items(_CRONS):
                self._tick(item, namespace)
            for item, namespace in self._items(_JOBS):
                # somebody changed or deleted it meanwhile: the next round sees it as it is then
                with suppress(KubeError):
                    self._reconcile(item, namespace)

    def _items(self, plural: str) -> list[tuple[dict[str, Any], str]]:
        return [(item, item["metadata"]["namespace"]) for item in self._store.all(plural)]

    def _status(self, item: dict[str, Any], namespace: str, **status: Any) -> None:
        name = item["metadata"]["name"]
        self._store.patch(_JOBS, namespace, name, {"status": status}, status=True)

    def _reconcile(self, item: dict[str, Any], namespace: str) -> None:
        job = self._jobs.setdefault(item["metadata"]["uid"], _Job())
        status = item.get("status", {})
        state = status.get("jobDeploymentStatus", "")
        if "deletionTimestamp" in item["metadata"]:
            self._remove(item, namespace, job)
        elif state == "":
            self._accept(item, namespace, job)
        elif state in ("Initializing", "Running") and item["spec"].get("suspend"):
            self._clear(item, namespace, job)
            cleared = {"jobStatus": "", "jobId": "", "rayClusterName": ""}
            self._status(item, namespace, jobDeploymentStatus="Suspended", **cleared)
        elif state == "Suspended" and not item["spec"].get("suspend"):
            self._status(item, namespace, jobDeploymentStatus="")
        elif state in ("Initializing", "Running") and (late := self._late(item, job, state)):
            job.ended = time.monotonic()
            self._status(
                item, namespace, jobDeploymentStatus="Failed", reason=late, endTime=now(),
                message=f"The RayJob has passed a deadline: {late}",
            )  # fmt: skip
        elif state == "Initializing":
            self._begin(item, namespace, job)
        elif state == "Running":
            self._observe(item, namespace, job)
        elif state == "Retrying":
            self._retry(item, namespace, job)
        elif state in ("Complete", "Failed"):
            self._expire(item, namespace, job)

    def _retry(self, item: dict[str, Any], namespace: str, job: _Job, **status: Any) -> None:
        self._clear(item, namespace, job)
        self._status(
            item, namespace, jobDeploymentStatus="", jobStatus="", jobId="", rayClusterName="",
            **status,
        )  # fmt: skip

    def _accept(self, item: dict[str, Any], namespace: str, job: _Job) -> None:
        name, spec = item["metadata"]["name"], item["spec"]
        wrong = ""
        if len(name) > _NAME_LIMIT:
            wrong = f"RayJob name should be no more than {_NAME_LIMIT} characters"
        elif not spec.get("rayClusterSpec") and not spec.get("clusterSelector"):
            wrong = "one of RayClusterSpec or ClusterSelector must be set"
        if wrong:
            failed = {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed"}
            self._status(item, namespace, message=wrong, **failed)
            return
        self._store.patch(_JOBS, namespace, name, {"metadata": {"finalizers": [_FINALIZER]}})
        cluster = spec.get("clusterSelector", {}).get("ray.io/cluster")
        job.began = time.monotonic()
        self._status(
            item, namespace, jobDeploymentStatus="Initializing", startTime=now(),
            jobId=spec.get("jobId") or f"{name}-{secrets.token_hex(3)}",
            rayClusterName=cluster or f"{name}-{secrets.token_hex(3)[:5]}",
        )  # fmt: skip

    def _late(self, item: dict[str, Any], job: _Job, state: str) -> str:
        seconds = time.monotonic() - job.began
        spec = item["spec"]
        if seconds > spec.get("activeDeadlineSeconds", float("inf")):
            return "DeadlineExceeded"
        if state == "Initializing" and seconds > spec.get(
            "preRunningDeadlineSeconds", float("inf")
        ):
            return "PreRunningDeadlineExceeded"
        return ""

    def _begin(self, item: dict[str, Any], namespace: str, job: _Job) -> None:
        spec, cluster = item["spec"], item["status"]["rayClusterName"]
        own = spec.get("rayClusterSpec")
        if own is not None:
            self._pods.make_cluster(item, namespace, cluster)
        else:
            try:
                self._store.get(_CLUSTERS, namespace, cluster)
            except KubeError:
                return  # the cluster may still come
        if self.hold or self.waiting:
            return
        head = f"{cluster}-head"
        if own is not None:
            self._pods.set_state(namespace, head, running=True)
        try:
            env, runtime = self._environment(item, namespace)
        except KubeError:
            return  # a secret is missing: the pod stays in CreateContainerConfigError
        mode, name = spec.get("submissionMode", "K8sJobMode"), item["metadata"]["name"]
        if mode == "K8sJobMode":
            job.pod = f"{name}-{secrets.token_hex(3)[:5]}"
            labels = {"job-name": name, "batch.kubernetes.io/job-name": name}
            self._pods.make(namespace, job.pod, labels, ["ray-job-submitter"], running=True)
        elif mode == "SidecarMode":
            job.pod = head
        try:
            self._start(item, job, env, runtime)
        except OSError as error:  # no process, or a dashboard that refuses
            job.run = _Failed(f"the job could not be submitted: {error}", job.log)
        self._status(
            item, namespace, jobDeploymentStatus="Running", jobStatus="PENDING",
            dashboardURL=f"{cluster}-head-svc.{namespace}.svc.cluster.local:8265",
        )  # fmt: skip

    def _start(
        self, item: dict[str, Any], job: _Job, env: dict[str, str], runtime: dict[str, Any]
    ) -> None:
        spec = item["spec"]
        if missing := missing_requirements(runtime.pop("pip", [])):
            text = f"Failed to set up runtime environment: No matching distribution found for {missing}"
            job.run = _Failed(text, job.log)
            return
        if self._dashboard:
            variables = {**env, **runtime.get("env_vars", {})}
            whole = {**runtime, "env_vars": variables}
            job_id = item["status"]["jobId"]
            job.run = JobsRun(
                self._dashboard, self._token, job_id, spec["entrypoint"], whole, job.log
            )
            return
        job.run = ProcessRun(spec["entrypoint"], {**env, **runtime.get("env_vars", {})}, job.log)

    def _environment(
        self, item: dict[str, Any], namespace: str
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Return the head container's variables and the runtime environment, as they arrive."""
        spec = item["spec"]
        env = dict(self._env)
        cluster = spec.get("rayClusterSpec")
        if cluster is not None:
            container = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
            for entry in container.get("env", []):
                env[entry["name"]] = self._value(entry, namespace)
        text = json.dumps(yaml.safe_load(spec.get("runtimeEnvYAML") or "{}"))
        if spec.get("submissionMode", "K8sJobMode") != "HTTPMode":
            text = through_shell(text)
        runtime: dict[str, Any] = json.loads(text)
        return env, runtime

    def _value(self, entry: dict[str, Any], namespace: str) -> str:
        if "value" in entry:
            return str(entry["value"]).replace("$$(", "$(")
        reference = entry["valueFrom"]["secretKeyRef"]
        data = self._store.get("secrets", namespace, reference["name"])["data"]
        if reference["key"] not in data:
            raise KubeError(404, f"no key {reference['key']}")
        return base64.b64decode(data[reference["key"]]).decode()

    def _observe(self, item: dict[str, Any], namespace: str, job: _Job) -> None:
        assert job.run is not None
        state, message = job.run.state()
        status = item["status"]
        if state in ("PENDING", "RUNNING"):
            if status.get("jobStatus") != state:
                self._status(item, namespace, jobStatus=state)
            return
        job.log.end()
        job.ended = time.monotonic()
        failed = int(status.get("failed", 0)) + (state == "FAILED")
        deployment = "Failed" if state == "FAILED" else "Complete"
        if state == "FAILED" and failed <= item["spec"].get("backoffLimit", 0):
            deployment = "Retrying"
            if self.hide_retrying:
                self._retry(item, namespace, job, failed=failed)
                return
        self._status(
            item, namespace, jobStatus=state, jobDeploymentStatus=deployment, message=message,
            reason="AppFailed" if state == "FAILED" else "", failed=failed, endTime=now(),
        )  # fmt: skip

    def _expire(self, item: dict[str, Any], namespace: str, job: _Job) -> None:
        spec = item["spec"]
        if not spec.get("shutdownAfterJobFinishes") or spec.get("clusterSelector"):
            return
        if time.monotonic() - job.ended < spec.get("ttlSecondsAfterFinished", 0):
            return
        if self.delete_after_ttl:
            self._store.delete(_JOBS, namespace, item["metadata"]["name"])
        else:
            self._pods.delete_cluster(item, namespace)
            if job.run is not None:
                job.run.stop()  # what passed its deadline runs on until its cluster goes

    def _remove(self, item: dict[str, Any], namespace: str, job: _Job) -> None:
        self._clear(item, namespace, job)
        with suppress(KubeError):
            self._store.finalize(_JOBS, namespace, item["metadata"]["name"])

    def _clear(self, item: dict[str, Any], namespace: str, job: _Job) -> None:
        """Stop the work, and delete what belongs to the RayJob."""
        if job.run is not None:
            job.run.stop()
        job.log.end()
        if job.pod:
            with suppress(KubeError):
                self._store.delete("pods", namespace, job.pod)
        self._pods.delete_cluster(item, namespace)
        self._jobs[item["metadata"]["uid"]] = _Job()

    def _tick(self, item: dict[str, Any], namespace: str) -> None:
        uid, name = item["metadata"]["uid"], item["metadata"]["name"]
        last = self._ticked.setdefault(uid, time.monotonic())
        if not self.every or item["spec"].get("suspend") or time.monotonic() - last < self.every:
            return
        self._ticked[uid] = time.monotonic()
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {
                "name": f"{name}-{secrets.token_hex(3)[:5]}",
                "labels": {"ray.io/cronjob-name": name},
                "annotations": {"ray.io/cronjob-scheduled-timestamp": now()},
            },
            "spec": item["spec"]["jobTemplate"],
        }
        with suppress(KubeError):
            self._store.create(_JOBS, namespace, body)
            scheduled = {"status": {"lastScheduleTime": now()}}
            self._store.patch(_CRONS, namespace, name, scheduled, status=True)


class _Failed:
    """An entrypoint that could not be started."""

    def __init__(self, message: str, log: Log) -> None:
        self.log, self._message = log, message

    def state(self) -> tuple[str, str]:
        return "FAILED", self._message

    def stop(self) -> None:
        """Nothing runs."""
