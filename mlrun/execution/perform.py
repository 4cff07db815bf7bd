"""perform: what a worker does with a task: open the run, call the handler, store what it returns, end the run."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError
from mlrun.execution.binding import bind_arguments
from mlrun.execution.task import Task
from mlrun.tracking import current, lifecycle
from mlrun.tracking.resume import find_stored
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.tracking.run import Run

__all__ = ["perform"]


def perform(
    task: Task | Mapping[str, Any] | str, values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Perform one run, from its start to its end.

    Never raises for what the function does: the run ends as `error`, and so does the outcome.

    Args:
        task: a `Task`, its dict or its JSON.
        values: inputs that travel as values (frames, tables, arrays), by name.

    Returns:
        `{"run_id", "state", "results", "error", "iteration"}`: JSON values.
    """
    if not isinstance(task, Task):
        task = Task.from_json(task) if isinstance(task, str) else Task.from_dict(task)
    store = task.open_store()
    found: dict[str, Any] = {}
    if store is not None and not task.fresh:
        found = find_stored(store, task.run_id) or {}
    run = open_run(
        store,
        task.open_settings(),
        _about(task),
        run_id=task.run_id,
        watch=task.captures,
        taken=found,
    )
    state, error = "completed", None
    try:
        with current.bind(run):
            _call(task, run, dict(values or {}))
    except BaseException as failure:  # noqa: BLE001  whatever the function raised is the run's end
        state, error = lifecycle.outcome_of(failure)
    run.end(state, error)
    return {
        "run_id": run.id,
        "state": run.state,
        "results": run.results,
        "error": error,
        "iteration": task.iteration,
    }


def _about(task: Task) -> About:
    return About(
        name=task.name,
        config=task.params,
        tags=task.tags,
        labels=task.labels,
        parent=task.parent,
        notes=task.notes,
        kind=task.kind,
        function=task.function_uri or None,
        iteration=task.iteration,
    )


def _call(task: Task, run: Run, values: dict[str, Any]) -> None:
    handler = _load(task)
    inputs = {**task.inputs, **values}
    args, kwargs = bind_arguments(handler, run, task.params, inputs, lambda _n, item, _w: item)
    made = handler(*args, **kwargs)
    if inspect.iscoroutine(made):
        made = asyncio.run(made)
    if inspect.isgenerator(made) or inspect.isasyncgen(made):
        raise ConfigError("a handler that yields cannot be run: return the values instead")
    if made is not None:
        run.log_result("return", made)


def _load(task: Task) -> Callable[..., Any]:
    code = task.function.get("code") or {}
    if code.get("kind") == "pickle":
        import base64

        import cloudpickle

        found: Callable[..., Any] = cloudpickle.loads(base64.b64decode(code["data"]))
        return found
    from mlrun.functions.module import load_callable

    loaded: Callable[..., Any] = load_callable(task.function, task.handler or None)
    return loaded
