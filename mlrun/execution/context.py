"""`get_or_create_ctx`: the run that a file writes to, whether it runs by itself, as a handler, or as a job."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError
from mlrun.execution.script import CONFIG
from mlrun.tracking import current
from mlrun.tracking.start import init

if TYPE_CHECKING:
    from mlrun.tracking.run import Run

__all__ = ["get_or_create_ctx"]


def get_or_create_ctx(
    name: str = "",
    project: str | None = None,
    spec: dict[str, Any] | None = None,
    with_env: bool = True,
    **options: Any,
) -> Run:
    """Return the run of the handler or job that this code runs in, else the process's open run, else a new one.

    Args:
        name: of a new run.
        project: of a new run.
        spec: params and inputs of a new run: `{"params": {...}, "inputs": {...}}`.
        with_env: heed `MLRUN_EXEC_CONFIG`, which a job sets for its scripts.
        **options: what `mlrun.init` takes.

    Example:
        >>> import mlrun
        >>> context = mlrun.get_or_create_ctx("train", project="doc", spec={"params": {"lr": 0.1}})
        >>> context.get_param("lr"), context.get_param("epochs", 3)
        (0.1, 3)
        >>> context.finish()
    """
    if (bound := current.current_run()) is not None:
        return bound
    given = _from_environment() if with_env else None
    if given is None:
        given, joined = dict(spec or {}), False
    else:
        joined = True
        options = {**options, "id": given["run_id"], "resume": "allow"}
        project, name = given.get("project") or project, ""
    params = given.get("params") or given.get("parameters") or {}
    run = init(project=project, name=name or None, config=params or None, **options)
    from mlrun.execution.task import Task

    if joined or given.get("inputs"):
        run.task = Task(
            run.id,
            run.name,
            run.project,
            params=dict(params),
            inputs=dict(given.get("inputs") or {}),
            secrets=dict(given.get("secrets") or {}),
        )
    return run


def _from_environment() -> dict[str, Any] | None:
    text = os.environ.get(CONFIG)
    if not text:
        return None
    try:
        found = json.loads(text)
        found["run_id"]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{CONFIG} is no task: {error}") from error
    return dict(found)
