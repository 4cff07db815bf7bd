"""What a function's spec asks of the place where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.execution.law import Needs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["needs_of"]


def needs_of(spec: Mapping[str, Any]) -> Needs:
    """Return the needs that a function's spec (`FunctionSpec.to_dict()`) states."""
    resources = spec.get("resources") or {}
    return Needs(
        num_cpus=resources.get("num_cpus"),
        num_gpus=resources.get("num_gpus"),
        memory=resources.get("memory"),
        resources=resources.get("custom") or {},
        requirements=tuple(spec.get("requirements") or ()),
        env=spec.get("env") or {},
        secrets=spec.get("secrets") or {},
        image=spec.get("image") or None,
        source=spec.get("source") or None,
        replicas=int(spec.get("replicas") or 1),
        node_selector=spec.get("node_selector") or {},
        labels=spec.get("labels") or {},
        name=spec.get("name") or "",
    )
