"""Where and how jobs are made on Kubernetes: arguments > `MLRUN_KUBE_*` > defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from mlrun.errors import ConfigError, did_you_mean

__all__ = ["MODES", "KubeOptions"]

MODES = ("K8sJobMode", "HTTPMode", "SidecarMode")

_RAY = "2.60.0"


@dataclass(frozen=True)
class KubeOptions:
    """Options of `KubeRayExecutor`; the environment variable of each is its name in capitals behind `MLRUN_KUBE_`.

    Attributes:
        namespace: empty for that of the kubeconfig context or of this pod.
        context: of the kubeconfig; empty for the current one.
        kubeconfig: file; empty for `KUBECONFIG`, then the service account of this pod, then the user's own file.
        image: of the Ray pods; must hold mlrun-arrow, and the Python of the driver.
        pull_secrets: names of secrets to pull images with, separated by commas.
        service_account: of the Ray pods; empty for the namespace's default, without its token.
        cluster: name of a RayCluster that is there already; empty to make one for each job.
        cluster_spec: file with a RayCluster (such as `ray-cluster.yaml`) that the job's own cluster is made from.
        submission: K8sJobMode (a pod submits, and holds the log), SidecarMode (a container beside the head does)
            or HTTPMode (the operator does; logs are read from the dashboard).
        ttl: seconds that the job's own cluster stays after the end.
        retries: times that KubeRay starts the job anew, each time with a new cluster, after it failed.
        suspend: make jobs suspended; whoever admits them (Kueue) resumes them.
        start_timeout: seconds within which a job must run; 0 to wait for ever.
        ray_version: of the image.
        auth: whether the job's own cluster asks for a token.
        run_as: user id in the pods; 0 for the image's own.
        crds: folder with KubeRay's CRDs: every manifest is checked against them before it is sent.
        slots: how many jobs `map` has in flight, when it is not told.
        shares_files: whether pods see this host's files under the same paths (one node, a shared mount).
    """

    namespace: str = ""
    context: str = ""
    kubeconfig: str = ""
    image: str = ""
    pull_secrets: str = ""
    service_account: str = ""
    cluster: str = ""
    cluster_spec: str = ""
    submission: str = "K8sJobMode"
    ttl: int = 300
    retries: int = 0
    suspend: bool = False
    start_timeout: int = 1800
    ray_version: str = _RAY
    auth: bool = True
    run_as: int = 1000
    crds: str = ""
    slots: int = 4
    shares_files: bool = False

    @classmethod
    def read(cls, **given: Any) -> KubeOptions:
        """Return the options that hold here and now.

        Raises:
            ConfigError: an unknown option, a value without meaning, or two that exclude each other.
        """
        known = {f.name: type(f.default) for f in fields(cls)}
        for name in given:
            if name not in known:
                raise ConfigError(f"kuberay: no option {name!r}{did_you_mean(name, known)}")
        found = {n: v for n in known if (v := os.environ.get(f"MLRUN_KUBE_{n.upper()}"))}
        found.update(given)
        options = replace(cls(), **{n: _cast(n, v, known[n]) for n, v in found.items()})
        options.check()
        return options

    def check(self) -> None:
        """Raise ConfigError if KubeRay would refuse what these options make."""
        if self.submission not in MODES:
            near = did_you_mean(self.submission, MODES)
            raise ConfigError(f"kuberay: submission {self.submission!r}{near}: {', '.join(MODES)}")
        clash = ""
        if self.cluster:
            clash = (
                "suspend" if self.suspend
                else "retries" if self.retries
                else "cluster_spec" if self.cluster_spec
                else "submission='SidecarMode'" if self.submission == "SidecarMode"
                else ""
            )  # fmt: skip
        if clash:
            raise ConfigError(
                f"kuberay: {clash} needs a cluster of the job's own: leave out cluster="
            )
        if min(self.ttl, self.retries, self.start_timeout, self.run_as) < 0:
            raise ConfigError("kuberay: ttl, retries, start_timeout and run_as cannot be negative")

    def base_spec(self) -> dict[str, Any] | None:
        """Return the spec in the file `cluster_spec`, None if there is none."""
        if not self.cluster_spec:
            return None
        try:
            found = yaml.safe_load(Path(self.cluster_spec).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"kuberay: cluster_spec {self.cluster_spec}: {error}") from error
        if not isinstance(found, dict) or found.get("kind") != "RayCluster":
            raise ConfigError(f"kuberay: cluster_spec {self.cluster_spec} holds no RayCluster")
        spec: dict[str, Any] = found["spec"]
        return spec


def _cast(name: str, value: Any, kind: type) -> Any:
    if kind is bool and isinstance(value, str):
        word = value.strip().lower()
        if word in {"1", "true", "yes", "on"}:
            return True
        if word in {"0", "false", "no", "off"}:
            return False
        raise ConfigError(f"kuberay: {name} must be true or false, not {value!r}")
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"kuberay: {name} must be {kind.__name__}, not {value!r}") from error
