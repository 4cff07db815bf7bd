"""The manifests of KubeRay: RayJob, RayCluster and RayCronJob, as plain mappings, without any call to a cluster.

A manifest holds references to secrets only: `k8s:SECRET/KEY` becomes a `secretKeyRef`, everything else is resolved
where the work runs. Values that reach the submitter's shell (it pastes `runtimeEnvYAML` between double quotes) must
hold nothing that a shell expands; what might goes into the pods' own environment.
"""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any

import yaml

from mlrun.errors import ExecutorError
from mlrun.execution.entry import CALL, COMMAND
from mlrun.redact import is_secret_name, redact_url

from .kube_names import kube_label, kube_label_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.execution.law import Needs

    from .kube_options import KubeOptions

__all__ = [
    "API_VERSION",
    "MANAGED",
    "cluster_spec",
    "ray_cluster",
    "ray_cron_job",
    "ray_job",
    "runtime_env",
]

API_VERSION = "ray.io/v1"
MANAGED = {"app.kubernetes.io/managed-by": "mlrun"}

_MEMORY = 4 << 30  # bytes of a pod that asks for none: Ray itself wants two
_HEAD = {"cpu": "1", "memory": "4Gi"}  # of a head that only coordinates
_SHELL = frozenset("$`")
Manifest = dict[str, Any]


def ray_job(name: str, call: str, options: KubeOptions, needs: Needs) -> Manifest:
    """Return the RayJob that makes one call.

    Args:
        name: of the RayJob, a name that Kubernetes takes.
        call: what `mlrun.execution.entry` reads.
        options: where and how.
        needs: of the call.

    Raises:
        ExecutorError: the needs cannot be had in this way.
    """
    return _manifest("RayJob", name, needs, _job_spec(call, options, needs))


def ray_cron_job(
    name: str, cron: str, call: str, options: KubeOptions, needs: Needs, *, time_zone: str = ""
) -> Manifest:
    """Return the RayCronJob that makes the call by the clock; arguments and errors as `ray_job`."""
    spec: Manifest = {"schedule": cron, "jobTemplate": _job_spec(call, options, needs)}
    if time_zone:
        spec["timeZone"] = time_zone
    return _manifest("RayCronJob", name, needs, spec)


def ray_cluster(name: str, options: KubeOptions, needs: Needs) -> Manifest:
    """Return a RayCluster that stays, for many jobs (`cluster=` names it); errors as `ray_job`."""
    _refuse_secrets(needs)
    return _manifest("RayCluster", name, needs, cluster_spec(options, needs))


def _manifest(kind: str, name: str, needs: Needs, spec: Manifest) -> Manifest:
    metadata: Manifest = {"name": name, "labels": dict(MANAGED)}
    metadata["labels"] |= {kube_label_key(k): kube_label(str(v)) for k, v in needs.labels.items()}
    if needs.name:  # a label may have lost some of it
        metadata["annotations"] = {"mlrun/name": needs.name}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _job_spec(call: str, options: KubeOptions, needs: Needs) -> Manifest:
    _refuse_secrets(needs)
    spec: Manifest = {
        "entrypoint": COMMAND,
        "submissionMode": options.submission,
        "backoffLimit": options.retries,
        "runtimeEnvYAML": yaml.safe_dump(runtime_env(call, options, needs), sort_keys=True),
    }
    if options.submission == "K8sJobMode":
        # a second submitter would tell the log again from its beginning, and never start the work again
        spec["submitterConfig"] = {"backoffLimit": 0}
    if needs.time_limit is not None:
        # the call ends itself in time (mlrun.execution.entry); this is for what cannot, a hung node
        spec["activeDeadlineSeconds"] = math.ceil(needs.time_limit) + (
            options.start_timeout or 1800
        )
    if options.start_timeout:
        spec["preRunningDeadlineSeconds"] = options.start_timeout
    if options.cluster:
        spec["clusterSelector"] = {"ray.io/cluster": options.cluster}
        _refuse_for_existing(needs)
        return spec
    spec["rayClusterSpec"] = cluster_spec(options, needs)
    spec["shutdownAfterJobFinishes"] = True
    spec["ttlSecondsAfterFinished"] = options.ttl
    if options.suspend:
        spec["suspend"] = True
    return spec


def _refuse_secrets(needs: Needs) -> None:
    if named := [n for n, value in needs.env.items() if value and is_secret_name(n)]:
        raise ExecutorError(
            f"env {', '.join(named)}: a manifest is no place for a secret; give a reference "
            "(k8s:SECRET/KEY, env:NAME or file:PATH) among the secrets"
        )
    if any(redact_url(text) != text for text in (*needs.requirements, needs.source or "")):
        raise ExecutorError(
            "a requirement or the source is a URL with a password: use a netrc in the image"
        )


def _refuse_for_existing(needs: Needs) -> None:
    asked = {
        "image": needs.image,
        "node_selector": needs.node_selector,
        "a secret by k8s:": [r for r in needs.secrets.values() if r.startswith("k8s:")],
    }
    if found := [what for what, value in asked.items() if value]:
        raise ExecutorError(
            f"{' and '.join(found)} cannot be given to the pods of a cluster that runs already: "
            "leave out cluster=, or give them to that cluster"
        )


def runtime_env(call: str, options: KubeOptions, needs: Needs) -> Manifest:
    """Return Ray's runtime environment of the job: the call, requirements, code by URL.

    Raises:
        ExecutorError: a variable would be changed by the submitter's shell.
    """
    env: Manifest = {"env_vars": {CALL: call, "PYTHONUNBUFFERED": "1"}}
    if options.cluster:
        if options.submission == "K8sJobMode":
            for name, value in needs.env.items():
                if _SHELL.intersection(value):
                    raise ExecutorError(
                        f"env {name}: the submitter's shell would expand $ and ` in it; use submission='HTTPMode'"
                    )
        env["env_vars"] = {**needs.env, **env["env_vars"]}
    if needs.requirements:
        env["pip"] = list(needs.requirements)
    if needs.source and "://" in needs.source:
        env["working_dir"] = needs.source
    text = json.dumps({k: v for k, v in env.items() if k != "env_vars"})
    if options.submission != "HTTPMode" and _SHELL.intersection(text):
        raise ExecutorError(
            "requirements and source may hold no $ and no `: a shell would expand them"
        )
    return env


def cluster_spec(options: KubeOptions, needs: Needs) -> Manifest:
    """Return the spec of a RayCluster for one job: made from `options.cluster_spec`, or as small as the needs allow.

    One replica runs on the head; more have workers of their own, and the head coordinates.
    """
    base = options.base_spec()
    spec = copy.deepcopy(base) if base is not None else _small_cluster(options, needs)
    for group in _groups(spec):
        _fill(group["template"]["spec"], options, needs)
    if base is not None and needs.replicas > 1:
        _widen(spec, needs.replicas)
    return spec


def _groups(spec: Manifest) -> Iterator[Manifest]:
    yield spec["headGroupSpec"]
    yield from spec.get("workerGroupSpecs", ())


def _widen(spec: Manifest, replicas: int) -> None:
    workers = spec.get("workerGroupSpecs")
    if not workers:
        raise ExecutorError(f"{replicas} replicas need a worker group, and cluster_spec has none")
    group = workers[0]
    group["maxReplicas"] = max(replicas, group.get("maxReplicas", 0))
    group["replicas"] = max(replicas, group.get("replicas", 0))


def _small_cluster(options: KubeOptions, needs: Needs) -> Manifest:
    if not (needs.image or options.image):
        raise ExecutorError(
            "kuberay: no image is given (image=, MLRUN_KUBE_IMAGE): one with Ray, mlrun-arrow and this "
            "Python; see examples/kuberay.md"
        )
    alone = needs.replicas == 1
    spec: Manifest = {
        "rayVersion": options.ray_version,
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "rayStartParams": {},
            "resources": _ray_resources(needs) if alone else {"CPU": "0"},
            "template": _template("ray-head", _pod_resources(needs) if alone else dict(_HEAD)),
        },
    }
    if options.auth:
        spec["authOptions"] = {"mode": "token"}
    if not alone:
        worker = {
            "groupName": "workers",
            "replicas": needs.replicas,
            "minReplicas": needs.replicas,
            "maxReplicas": needs.replicas,
            "rayStartParams": {},
            "resources": _ray_resources(needs),
            "template": _template("ray-worker", _pod_resources(needs)),
        }
        spec["workerGroupSpecs"] = [worker]
    return spec


def _pod_resources(needs: Needs) -> Manifest:
    cpus = 1.0 if needs.num_cpus is None else max(needs.num_cpus, 0.1)
    found = {"cpu": _quantity(cpus), "memory": str(needs.memory or _MEMORY)}
    if needs.num_gpus:
        found["nvidia.com/gpu"] = str(math.ceil(needs.num_gpus))
    return found


def _ray_resources(needs: Needs) -> dict[str, str]:
    """Return what Ray schedules by: whole cores and devices, and the resources that only Ray knows."""
    cpus = 1.0 if needs.num_cpus is None else needs.num_cpus
    found = {"CPU": str(max(1, math.ceil(cpus)))}
    if needs.num_gpus:
        found["GPU"] = str(math.ceil(needs.num_gpus))
    return found | {name: _quantity(amount) for name, amount in needs.resources.items()}


def _quantity(amount: float) -> str:
    """Write a number as a quantity: thousandths where it is not whole, as `cpu: 0.5` is not allowed."""
    return str(int(amount)) if amount == int(amount) else f"{math.ceil(amount * 1000)}m"


def _template(container: str, resources: Mapping[str, str]) -> Manifest:
    # the limit is the request: Ray sizes its object store by the limit
    found = {
        "name": container,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
    }
    found["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    pod = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [found]}
    return {"metadata": {"labels": dict(MANAGED)}, "spec": pod}


def _fill(pod: Manifest, options: KubeOptions, needs: Needs) -> None:
    """Give a pod what comes from the options and the needs; what is set in it already stays where it can."""
    container = pod["containers"][0]
    image = needs.image or options.image or container.get("image")
    container["image"] = image
    container["env"] = _merged(container.get("env", []), _env(needs))
    security: Manifest = {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True}
    if options.run_as:
        security |= {"runAsUser": options.run_as}
    pod.setdefault("securityContext", security)
    if options.service_account:
        pod |= {
            "serviceAccountName": options.service_account,
            "automountServiceAccountToken": True,
        }
    if options.pull_secrets:
        names = [n.strip() for n in options.pull_secrets.split(",") if n.strip()]
        pod["imagePullSecrets"] = [{"name": n} for n in names]
    if needs.node_selector:
        pod["nodeSelector"] = {**pod.get("nodeSelector", {}), **needs.node_selector}


def _env(needs: Needs) -> list[Manifest]:
    found: list[Manifest] = [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}]
    # Kubernetes expands $(NAME) in values, unless the dollar is doubled
    found += [{"name": n, "value": v.replace("$(", "$$(")} for n, v in needs.env.items()]
    for name, reference in needs.secrets.items():
        if not reference.startswith("k8s:"):
            continue
        secret, _, key = reference[len("k8s:") :].partition("/")
        if not secret or not key:
            raise ExecutorError(f"secret {name}: {reference!r} is not k8s:SECRET/KEY")
        source = {"secretKeyRef": {"name": secret, "key": key}}
        found.append({"name": name, "valueFrom": source})
    return found


def _merged(first: list[Manifest], then: list[Manifest]) -> list[Manifest]:
    names = {e["name"] for e in then}
    return [e for e in first if e["name"] not in names] + then
