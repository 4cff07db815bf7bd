"""What a call needs, as far as this host can give it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlrun.errors import ExecutorError
from mlrun.functions.requirements import missing_requirements
from mlrun.notices import warn

if TYPE_CHECKING:
    from mlrun.execution.law import Needs

__all__ = ["around", "check_needs"]

_told: set[str] = set()


def check_needs(needs: Needs | None) -> None:
    """Refuse what cannot be had here; warn once of what does not exist here.

    Raises:
        ExecutorError: a requirement is not installed, or more cores are asked for than the host has.
    """
    if needs is None:
        return
    absent = missing_requirements(needs.requirements)
    if absent:
        raise ExecutorError(
            f"not installed here: {', '.join(absent)}; 'local' installs nothing: "
            "pip install them, or take another executor"
        )
    cores = os.cpu_count() or 1
    if needs.num_cpus is not None and needs.num_cpus > cores:
        raise ExecutorError(f"{needs.num_cpus:g} cores are asked for and this host has {cores}")
    ignored = {
        "num_gpus": needs.num_gpus, "memory": needs.memory, "resources": needs.resources,
        "image": needs.image, "node_selector": needs.node_selector,
        "replicas": needs.replicas > 1,
    }  # fmt: skip
    asked = [name for name, value in ignored.items() if value and name not in _told]
    if asked:
        _told.update(asked)
        warn(f"'local' reserves nothing and runs one process a call: {', '.join(asked)} not heeded")


def around(needs: Needs | None) -> tuple[dict[str, str], dict[str, str], str | None]:
    """Return what the worker puts around the call: variables, references to secrets, a folder of code."""
    if needs is None:
        return {}, {}, None
    return dict(needs.env), dict(needs.secrets), needs.source
