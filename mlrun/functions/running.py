"""How a call of `fn.run` becomes a launch, a step of a workflow, or a schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlrun.config import settings as read_settings
from mlrun.errors import ConfigError
from mlrun.functions.template import RunTemplate
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.functions.function import Function

__all__ = ["run_function_object", "step_of"]

_MERGED = ("params", "inputs", "labels")


def run_function_object(
    function: Function,
    runspec: Any,
    asked: Mapping[str, Any],
    place: Mapping[str, Any],
    *,
    schedule: Any = None,
    store: Any = None,
) -> Any:
    """Run a function, or store a schedule that does.

    Args:
        function: what is run.
        runspec: a template, a dict of its fields, or None.
        asked: what to do, by the names of `fn.run`; what is empty counts as not said.
        place: `local`, `executor`, `watch`.
        schedule: a cron line or a `Schedule`.
        store: where the run is kept; default the function's store, else the settings'.
    """
    from mlrun.execution import launch

    options = combined(runspec, asked)
    called, options = _with_handler(function, options)
    _add_secrets(called, options)
    if store is None:
        store = called.store
    known = read_settings(**(options.get("settings") or {}))
    found = open_store(store) if store is not None else open_store(given=known)
    if schedule is not None:
        return _scheduled(called, options, place, schedule, found)
    if called.store is not found:
        called = type(called)(called.spec, found)
    return launch.run(called, store=found, **place, **options)


def _add_secrets(function: Function, options: dict[str, Any]) -> None:
    """Give a run the secrets of the current project, if the function belongs to it."""
    from mlrun.project.active import active_project

    project = active_project()
    if project is not None and project.name == function.project and project.secrets:
        options["secrets"] = {**project.secrets, **(options.get("secrets") or {})}


def step_of(function: Function, runspec: Any, asked: Mapping[str, Any]) -> Any:
    """Add a step that runs a function to the workflow that is being made."""
    from mlrun.workflows.workflow import add_step

    own = {k: asked[k] for k in ("cache", "after") if k in asked}
    called, options = _with_handler(
        function, combined(runspec, {k: v for k, v in asked.items() if k not in own})
    )
    return add_step(called, **own, **options)


def combined(runspec: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Lay what was asked for over a template; params, inputs and labels are merged, all else is replaced."""
    base = RunTemplate.of(runspec).to_options()
    for name, value in asked.items():
        if value is None or (isinstance(value, str) and not value):
            continue
        if name in _MERGED and name in base:
            value = {**base[name], **value}
        base[name] = value
    return base


def _with_handler(function: Function, options: dict[str, Any]) -> tuple[Function, dict[str, Any]]:
    """A handler may be given as a callable: then it is the code, too."""
    from mlrun.functions.callables import code_of

    handler = options.get("handler")
    if handler is None or isinstance(handler, str):
        return function, options
    made = code_of(handler)
    spec = replace(function.copy().spec, code=made.code, handler=made.handler)
    return type(function)(spec, function.store), {
        k: v for k, v in options.items() if k != "handler"
    }


def _scheduled(
    function: Function, options: Mapping[str, Any], place: Mapping[str, Any], cron: Any, store: Any
) -> Any:
    from mlrun.execution.places import chosen
    from mlrun.workflows.keeping import keeps_clock
    from mlrun.workflows.schedule import Schedule, put_schedule

    if isinstance(cron, Schedule):
        return put_schedule(store, cron)
    where = place["executor"] or ("local" if place["local"] else None)
    if where is not None and not isinstance(where, str):
        raise ConfigError("a schedule names its executor by text: it is kept for another process")
    said = {**options, **({"executor": where} if where else {})}
    name = said.pop("name", None) or function.name
    known = read_settings(project=said.pop("project", None) or function.project or None)
    keeper = chosen(bool(place["local"]), place["executor"], known)
    function.versioned_uri(store)
    target = {"kind": "function", "spec": function.spec.to_dict(), "options": said}
    clock = keeper if keeps_clock(keeper) else ""
    return put_schedule(store, Schedule(known.project, name, cron, target, place=clock))
