"""What a call needs, in Ray's words; and whether the cluster can ever give it."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError
from mlrun.notices import warn

from .kube_payload import archive_of
from .ray_packages import python_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.execution.law import Needs

__all__ = ["Nodes", "absent_of", "claim_of", "runtime_env_of", "source_of", "unmet"]

_FRESH = 5.0  # seconds that a list of nodes is believed
_told: set[str] = set()


class Nodes:
    """The nodes of the cluster, asked for at most every few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0.0
        self._found: list[dict[str, Any]] = []

    def alive(self, *, fresh: bool = False) -> list[dict[str, Any]]:
        """Return the nodes that live, as `ray.nodes()` tells them."""
        import ray

        with self._lock:
            if fresh or not self._found or time.monotonic() - self._asked > _FRESH:
                nodes: Any = ray.nodes
                self._found = [node for node in nodes() if node["Alive"]]
                self._asked = time.monotonic()
            return self._found

    def total(self, resource: str) -> float:
        """Return how much of a resource all nodes have."""
        return float(sum(node["Resources"].get(resource, 0.0) for node in self.alive()))

    def are_this_host(self) -> bool:
        """Whether all of them are processes of this host, so that its files are theirs."""
        here = socket.gethostname()
        return all(node["NodeManagerHostname"] == here for node in self.alive())

    def check(self, claim: Mapping[str, Any]) -> None:
        """Refuse what no node has, however long one waits.

        Raises:
            ExecutorError: names what is lacking.
        """
        if unmet(claim, _capacities(self.alive())):
            lacking = unmet(claim, _capacities(self.alive(fresh=True)) + _to_come())
            if lacking:
                raise ExecutorError(lacking)


def claim_of(needs: Needs) -> dict[str, Any]:
    """Return Ray's options for the resources of a call; warns once of what does not exist there."""
    if needs.image and "image" not in _told:
        _told.add("image")
        warn("'ray' runs calls in the workers of its cluster: image not heeded")
    claim: dict[str, Any] = {"num_cpus": 1 if needs.num_cpus is None else needs.num_cpus}
    if needs.num_gpus:
        claim["num_gpus"] = needs.num_gpus
    if needs.memory:
        claim["memory"] = needs.memory
    if needs.resources:
        claim["resources"] = dict(needs.resources)
    if needs.node_selector:
        claim["label_selector"] = dict(needs.node_selector)
    return claim


def runtime_env_of(needs: Needs, source: str, *, here: bool) -> dict[str, Any]:
    """Return the runtime_env of a call; empty if any worker will do.

    Args:
        needs: environment variables and requirements count.
        source: name of the code that comes along: calls with other code get other workers, so that modules of the same
            name are not mixed.
        here: whether the workers are this host's: then what is installed here need not be installed.
    """
    found: dict[str, Any] = {}
    variables = {**needs.env, **({"MLRUN_SOURCE": source} if source else {})}
    if variables:
        found["env_vars"] = variables
    if absent := absent_of(needs, here=here):
        if here:
            found["py_executable"] = python_with(absent)
        else:
            found["pip"] = absent
    return found


def absent_of(needs: Needs, *, here: bool) -> list[str]:
    """Return the requirements that have to be installed."""
    return [r for r in needs.requirements if not (here and _is_met(r))]


def source_of(needs: Needs) -> tuple[str, bytes]:
    """Return name and bytes of the code that comes along; empty for none."""
    if not needs.source:
        return "", b""
    archive = archive_of(needs.source)
    return hashlib.sha256(archive).hexdigest()[:32], archive


def unmet(claim: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> str:
    """Say what of a claim no single node has; empty if one has it all.

    Args:
        claim: options as `claim_of` gives them.
        nodes: `{"resources": {name: amount}, "labels": {name: value}}` of each.
    """
    wanted = {"CPU": claim.get("num_cpus", 0), "GPU": claim.get("num_gpus", 0)}
    wanted |= {"memory": claim.get("memory", 0), **claim.get("resources", {})}
    labels = claim.get("label_selector", {})
    fitting = [n for n in nodes if all(_fits(n["labels"], k, v) for k, v in labels.items())]
    if labels and not fitting:
        return f"no node of the cluster has the labels {dict(labels)}"
    if any(all(n["resources"].get(k, 0) >= v for k, v in wanted.items()) for n in fitting):
        return ""
    for name, amount in wanted.items():
        most = max((n["resources"].get(name, 0) for n in fitting), default=0)
        if most < amount:
            return f"the call needs {_told_as(name, amount)}, and no node of the cluster has more than {most:,g}"
    asked = ", ".join(_told_as(k, v) for k, v in wanted.items() if v)
    return f"no single node of the cluster has all that the call needs: {asked}"


def _told_as(name: str, amount: float) -> str:
    return f"{amount:,} bytes of memory" if name == "memory" else f"{name} {amount:g}"


def _fits(labels: Mapping[str, str], name: str, wanted: str) -> bool:
    """Whether a node's label meets a selector; operators such as `in(a,b)` and `!x` are left to Ray."""
    if wanted.startswith(("!", "in(", "!in(")):
        return True
    return labels.get(name) == wanted


def _capacities(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"resources": n["Resources"], "labels": n.get("Labels", {})} for n in nodes]


def _to_come() -> list[dict[str, Any]]:
    """Return the kinds of node that an autoscaler can still add; none where it does not tell."""
    try:
        from ray._private.state import state

        config = state.get_cluster_config()
        groups = config.node_group_configs if config is not None else []
        return [
            {"resources": dict(g.resources), "labels": dict(g.labels)}
            for g in groups
            if g.max_count > 0
        ]
    except (ImportError, AttributeError):
        return []


def _is_met(requirement: str) -> bool:
    """Whether this process has a requirement, in a version that it allows."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        return False
    try:
        parsed = Requirement(requirement)
        return parsed.url is None and parsed.specifier.contains(
            version(parsed.name), prereleases=True
        )
    except (InvalidRequirement, PackageNotFoundError):
        return False
