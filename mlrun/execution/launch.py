"""launch: how `fn.run(...)` becomes a run: recorded as pending, handed to an executor, watched to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.config import settings as read_settings
from mlrun.errors import ConfigError, RunError
from mlrun.execution.perform import perform
from mlrun.execution.task import Task, carried_settings
from mlrun.ids import uuid7
from mlrun.registry import executor_class
from mlrun.store import open_store
from mlrun.view import RunView, get_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["run"]


def run(
    function: Any,
    *,
    handler: str = "",
    name: str = "",
    project: str = "",
    params: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    returns: Sequence[Any] | None = None,
    local: bool = False,
    executor: str | Any = None,
    watch: bool = True,
    **more: Any,
) -> RunView:
    """Run a function; see `Function.run`."""
    if local and executor not in (None, "local"):
        raise ConfigError(
            f"local=True is executor='local': it cannot go with executor={executor!r}"
        )
    spec = function.spec.to_dict()
    known = read_settings(project=project or spec.get("project") or None)
    store = open_store(given=known)
    task = Task(
        run_id=uuid7(),
        name=name or spec.get("name") or "run",
        project=known.project,
        function=spec,
        function_uri=str(getattr(function, "uri", "") or ""),
        handler=handler,
        params=dict(params or {}),
        inputs=dict(inputs or {}),
        returns=list(returns or ()),
        store={"dbpath": store.url},
        settings=carried_settings(known),
        fresh=True,
    )
    chosen = executor or "local"
    if chosen == "local" and watch:
        outcome = perform(task)
    else:
        place = executor_class(chosen)() if isinstance(chosen, str) else chosen
        outcome = place.submit(perform, task).result()
    view = get_run(store, task.run_id)
    if watch and outcome["state"] == "error":
        raise RunError(f"run {task.name!r} failed:\n{outcome['error']}", view)
    return view
