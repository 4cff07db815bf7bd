"""Check manifests before they are sent: KubeRay's own rules always, the CRDs' schemas where they are at hand.

An API server drops fields that it does not know without a word, and so a misspelt field is lost silently. The schemas
are made strict for this: in every object with named fields an unknown one is an error. What JSON Schema cannot say
(formats, CEL rules) and what KubeRay's operator refuses later is checked here in plain code.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlrun.errors import ConfigError, ExecutorError

from .kube_names import CRON_LIMIT, JOB_LIMIT, is_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KINDS", "Schemas", "check_rules", "strict"]

KINDS = {"RayJob": "rayjobs", "RayCluster": "rayclusters", "RayCronJob": "raycronjobs"}
_NAME_LIMITS = {"RayJob": JOB_LIMIT, "RayCluster": 53, "RayCronJob": CRON_LIMIT}
_MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
_INT32 = 2**31 - 1


class Schemas:
    """The schemas of KubeRay's CRDs, read once from a folder of `ray.io_<plural>.yaml`.

    Raises:
        ConfigError: the folder holds no CRD of that kind, or `jsonschema` is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def errors(self, manifest: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with a manifest, by schema and by rule; empty when nothing is."""
        kind = str(manifest.get("kind"))
        if kind not in KINDS:
            return [f"kind: {kind!r} is none of {', '.join(KINDS)}"]
        found = [
            f"{'.'.join(map(str, e.absolute_path)) or 'manifest'}: {e.message[:300]}"
            for e in _validator(self.folder / f"ray.io_{KINDS[kind]}.yaml").iter_errors(manifest)
        ]
        return [*found, *check_rules(manifest)]

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Raise ExecutorError with everything that is wrong with a manifest."""
        if found := self.errors(manifest):
            raise ExecutorError(f"{manifest.get('kind')} is not valid: {'; '.join(found)}")


@cache
def _validator(path: Path) -> Any:
    try:
        from jsonschema import Draft202012Validator
    except ModuleNotFoundError as error:
        raise ConfigError(
            "checking against CRDs needs jsonschema: pip install jsonschema"
        ) from error
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"no CRD in {path.name}: {error.strerror}") from error
    crd = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [v for v in crd["spec"]["versions"] if v["name"] == "v1"]
    # never jsonschema.validate(): it checks the schema itself each time, which takes seconds
    return Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a CRD's schema in which unknown fields are errors, save in `metadata`, which has no schema."""
    out = copy.deepcopy(dict(schema))
    _tighten(out)
    out["properties"]["metadata"] = {"type": "object"}
    return out


def _tighten(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _tighten(item)
    if not isinstance(schema, dict):
        return
    open_to_more = "additionalProperties" in schema or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if isinstance(schema.get("properties"), dict):
        for inner in schema["properties"].values():
            _tighten(inner)
        if not open_to_more:
            schema["additionalProperties"] = False
    for word in ("items", "additionalProperties", "anyOf", "allOf", "oneOf"):
        _tighten(schema.get(word))


def check_rules(manifest: Mapping[str, Any]) -> list[str]:
    """Return what KubeRay's operator would refuse after the API server has taken the manifest."""
    kind = str(manifest.get("kind"))
    name = manifest.get("metadata", {}).get("name", "")
    limit = _NAME_LIMITS.get(kind, 53)
    found = []
    if manifest.get("apiVersion") != "ray.io/v1":
        found.append("apiVersion: must be ray.io/v1")
    if not is_name(name, limit):
        found.append(f"metadata.name: {name!r} is no DNS label of at most {limit} characters")
    spec = manifest.get("spec", {})
    if kind == "RayJob":
        found += _job_rules(spec)
    elif kind == "RayCluster":
        found += _cluster_rules(spec)
    elif kind == "RayCronJob":
        if "TZ" in spec.get("schedule", ""):
            found.append("spec.schedule: no TZ in it, use spec.timeZone")
        found += _job_rules(spec.get("jobTemplate", {}))
    return [*found, *_numbers(spec, "spec")]


def _job_rules(spec: Mapping[str, Any]) -> Iterator[str]:
    mode = spec.get("submissionMode", "K8sJobMode")
    own, selector = spec.get("rayClusterSpec"), spec.get("clusterSelector")
    retries, ttl = spec.get("backoffLimit", 0), spec.get("ttlSecondsAfterFinished", 0)
    ends = spec.get("shutdownAfterJobFinishes", False)
    if mode not in _MODES:
        yield f"submissionMode: {mode!r} is none of {', '.join(_MODES)}"
    if not own and not selector:
        yield "one of rayClusterSpec and clusterSelector must be there"
    if selector and not selector.get("ray.io/cluster"):
        yield "clusterSelector: ray.io/cluster must name a cluster"
    if selector and (spec.get("suspend") or retries or mode == "SidecarMode"):
        yield "clusterSelector excludes suspend, backoffLimit and SidecarMode"
    if spec.get("suspend") and not ends:
        yield "suspend needs shutdownAfterJobFinishes"
    if ttl and not ends:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if mode == "InteractiveMode" and retries:
        yield "InteractiveMode excludes backoffLimit"
    if mode == "SidecarMode" and (spec.get("submitterPodTemplate") or spec.get("submitterConfig")):
        yield "SidecarMode excludes submitterPodTemplate and submitterConfig"
    if not spec.get("entrypoint") and mode != "InteractiveMode":
        yield "entrypoint must be there"
    for word in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(word, 1) <= 0:
            yield f"{word} must be positive"
    if min(retries, ttl) < 0:
        yield "backoffLimit and ttlSecondsAfterFinished cannot be negative"
    if own:
        yield from _cluster_rules(own)


def _cluster_rules(spec: Mapping[str, Any]) -> Iterator[str]:
    scaling = spec.get("enableInTreeAutoscaling", False)
    newest = spec.get("autoscalerOptions", {}).get("version") == "v2"
    head = {"groupName": "head", **spec.get("headGroupSpec", {})}
    for group in (head, *spec.get("workerGroupSpecs", ())):
        name = group.get("groupName", "?")
        pod = group.get("template", {}).get("spec", {})
        containers = [c.get("name") for c in pod.get("containers", ())]
        if not containers or len(set(containers)) < len(containers):
            yield f"group {name}: containers must be there, with names of their own"
        params = set(group.get("rayStartParams", {}))
        if group.get("resources") and params & {"num-cpus", "num-gpus", "memory", "resources"}:
            yield f"group {name}: resources stand in rayStartParams too"
        if scaling and newest and pod.get("restartPolicy", "Never") != "Never":
            yield f"group {name}: autoscaler v2 needs restartPolicy Never"
        low, high = group.get("minReplicas"), group.get("maxReplicas")
        if group is not head and not scaling and (low is None or high is None):
            yield f"group {name}: minReplicas and maxReplicas must be set without an autoscaler"
        if low is not None and high is not None and not 0 <= low <= high:
            yield f"group {name}: minReplicas {low} and maxReplicas {high}"
    if spec.get("authOptions", {}).get("mode") == "token":
        version = str(spec.get("rayVersion", "0")).split(".")[:2]
        if not all(p.isdigit() for p in version) or [int(p) for p in version] < [2, 52]:
            yield "authOptions: a token needs rayVersion 2.52 or newer"


def _numbers(value: Any, path: str) -> Iterator[str]:
    """Find numbers that no int32 holds and whole floats, which JSON Schema takes for integers."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _numbers(inner, f"{path}.{index}")
    elif isinstance(value, float) and not path.rpartition(".")[2].startswith("entrypointNum"):
        yield f"{path}: {value!r} is a float"
    elif isinstance(value, int) and abs(value) > _INT32:
        yield f"{path}: {value} is beyond 32 bits"
