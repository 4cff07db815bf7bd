"""Clusters and pods of the test operator: the resources that KubeRay makes for a RayJob."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.testing.kubestore import KubeError, now

if TYPE_CHECKING:
    from mlrun.testing.kubestore import KubeStore

__all__ = ["KubePods"]

_CLUSTERS = "rayclusters"


class KubePods:
    """Makes and deletes them in a store.

    Args:
        store: the resources.
        waiting: why pods do not start, as a reason of Kubernetes; empty for nothing.
    """

    def __init__(self, store: KubeStore, waiting: str) -> None:
        self._store, self.waiting = store, waiting

    def delete_cluster(self, item: dict[str, Any], namespace: str) -> None:
        """Delete the RayJob's own cluster, and what belongs to it."""
        cluster = item.get("status", {}).get("rayClusterName", "")
        if item["spec"].get("clusterSelector") or not cluster:
            return
        kinds = ((_CLUSTERS, cluster), ("pods", f"{cluster}-head"), ("secrets", cluster))
        for plural, name in kinds:
            with suppress(KubeError):
                self._store.delete(plural, namespace, name)

    def make_cluster(self, item: dict[str, Any], namespace: str, cluster: str) -> None:
        """Make the RayJob's own cluster, with its token and a head that has not started."""
        labels = {"ray.io/originated-from-cr-name": item["metadata"]["name"]}
        spec = item["spec"]["rayClusterSpec"]
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": cluster, "labels": labels},
            "spec": spec,
        }
        with suppress(KubeError):  # it is there already
            self._store.create(_CLUSTERS, namespace, body)
            if spec.get("authOptions", {}).get("mode") == "token":
                token = base64.b64encode(f"token-of-{cluster}".encode()).decode()
                secret = {"metadata": {"name": cluster}, "data": {"auth_token": token}}
                self._store.create("secrets", namespace, secret)
            names = [spec["headGroupSpec"]["template"]["spec"]["containers"][0]["name"]]
            if item["spec"].get("submissionMode") == "SidecarMode":
                names.append("ray-job-submitter")
            pod_labels = {"ray.io/cluster": cluster, "ray.io/node-type": "head"}
            self.make(namespace, f"{cluster}-head", pod_labels, names, running=False)

    def make(
        self, namespace: str, name: str, labels: dict[str, str], names: list[str], *, running: bool
    ) -> None:
        """Make a pod with containers of these names."""
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": n} for n in names]},
        }
        self._store.create("pods", namespace, body)
        self.set_state(namespace, name, running=running)

    def set_state(self, namespace: str, name: str, *, running: bool) -> None:
        """Let all containers of a pod run, or wait."""
        pod = self._store.get("pods", namespace, name)
        waiting = {"reason": self.waiting or "ContainerCreating", "message": "as told by the test"}
        state = {"running": {"startedAt": now()}} if running else {"waiting": waiting}
        found = [{"name": c["name"], "state": state} for c in pod["spec"]["containers"]]
        status = {"phase": "Running" if running else "Pending", "containerStatuses": found}
        self._store.patch("pods", namespace, name, {"status": status}, status=True)
