"""What a spec needs of a place, in the words of executors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.content.references import is_url
from mlrun.execution.law import Needs
from mlrun.execution.secrets import STORED
from mlrun.execution.thresholds import seconds

if TYPE_CHECKING:
    from mlrun.functions.spec import FunctionSpec

__all__ = ["as_needs", "source_place"]


def as_needs(spec: FunctionSpec) -> Needs:
    """Return the needs of a function.

    Raises:
        ConfigError: its source cannot be fetched, or its time limit is no length of time.
    """
    resources = spec.resources
    return Needs(
        num_cpus=resources.get("num_cpus"),
        num_gpus=resources.get("num_gpus"),
        memory=resources.get("memory"),
        resources=dict(resources.get("custom") or {}),
        requirements=tuple(spec.requirements),
        env=dict(spec.env),
        # what the store keeps is handed to the run, and not to the process that it begins in
        secrets={n: r for n, r in spec.secrets.items() if not r.startswith(f"{STORED}:")},
        image=spec.image or None,
        source=_local_source(spec),
        replicas=spec.replicas,
        node_selector=dict(spec.node_selector),
        time_limit=seconds(spec.time_limit),
        labels={str(k): str(v) for k, v in spec.labels.items()},
        name=spec.name,
    )


def source_place(spec: FunctionSpec) -> str:
    """Return where the source is: an absolute path, or a URL; empty if there is none."""
    from mlrun.project.source import is_git

    if not spec.source or is_url(spec.source) or is_git(spec.source):
        return spec.source
    return str(Path(spec.context or ".", spec.source).expanduser().absolute())


def _local_source(spec: FunctionSpec) -> str | None:
    place = source_place(spec)
    if not place:
        return None
    from mlrun.project.source import is_git, local_copy

    if is_url(place) or is_git(place):
        place = str(local_copy(place))
    return str(Path(place, spec.workdir)) if spec.workdir else place
