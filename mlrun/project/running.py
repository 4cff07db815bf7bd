"""How a project runs its functions and workflows."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlrun.errors import ConfigError, NotFound, did_you_mean
from mlrun.functions.function import Function
from mlrun.project.active import active_project, set_active

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike

    from mlrun.project.project import Project

__all__ = ["run_function", "run_in_project", "run_workflow_of", "workflow_entry"]

_HANDLERS = ("pipeline", "workflow", "main")
_OPTIONS = ("workflow_handler", "engine", "local", "schedule", "resume", "notifications", "labels",
            "cache", "store", "executor", "watch", "timeout")  # fmt: skip


def run_function(function: Any, handler: Any = "", name: str = "", **options: Any) -> Any:
    """Run a function of the current project; inside a workflow, add a step.

    Args:
        function: a name in the current project, a `Function`, or a callable.
        handler: what of its code is called.
        name: of the run.
        **options: the arguments of `fn.run`; of a step also `after` and `cache`.

    Returns:
        A `RunView`; inside a workflow a `Step`.

    Example:
        >>> import mlrun
        >>> def half(x):
        ...     return x / 2
        >>> mlrun.run_function(half, params={"x": 5}, returns=["y"]).outputs["y"]
        2.5
    """
    project = active_project()
    asked = {"handler": handler, "name": name, **options}
    if project is not None:
        return run_in_project(project, function, asked)
    if isinstance(function, str):
        from mlrun.functions.making import import_function

        function = import_function(function)
    return _run(_as_function(function, None), asked)


def run_in_project(project: Project, function: Any, asked: dict[str, Any]) -> Any:
    """Run a function in a project, with the project's secrets."""
    named = isinstance(function, str)
    function = project.get_function(function) if named else _as_function(function, project)
    if project.secrets:
        asked = {**asked, "secrets": {**project.secrets, **(asked.get("secrets") or {})}}
    asked.setdefault("project", project.name)
    return _run(function, asked)


def _run(function: Function, asked: dict[str, Any]) -> Any:
    from mlrun.workflows.engine import active

    options = dict(asked)
    runspec = options.pop("base_task", None)
    if active() is not None:
        options.pop("project", None)  # the workflow's run says it
        return function.as_step(runspec, **options)
    for name in ("after", "cache"):
        if name in options:
            raise ConfigError(f"{name}= is for a step of a workflow")
    return function.run(runspec, **options)


def _as_function(function: Any, project: Project | None) -> Function:
    if isinstance(function, Function):
        return function
    if callable(function):
        from mlrun.project.entries import from_anything

        if project is not None:
            return from_anything(project, function, {})
        from mlrun.functions.making import make

        return make(function)
    raise ConfigError(f"run_function takes a name, a Function or a callable, not {function!r:.60}")


def run_workflow_of(
    project: Project,
    name: str | Callable[..., Any],
    workflow_path: str,
    arguments: Mapping[str, Any] | None,
    **options: Any,
) -> Any:
    """Run a workflow of a project, or store a schedule that does; see `Project.run`."""
    for option in options:
        if option not in _OPTIONS:
            raise ConfigError(f"run() has no argument {option!r}{did_you_mean(option, _OPTIONS)}")
    entry = _entry(project, name, workflow_path)
    engine = str(options.get("engine") or entry.get("engine") or "")
    if options.get("local"):
        engine = "local"
    given = {**dict(entry.get("args") or {}), **dict(arguments or {})}
    if options.get("schedule") is not None:
        return _schedule(project, entry, given, engine, options)
    return _perform(project, entry, given, engine, options)


def _entry(project: Project, name: str | Callable[..., Any], path: str) -> dict[str, Any]:
    if callable(name):
        return workflow_entry(project, getattr(name, "__name__", "workflow"), name)
    if path:
        return {"name": name or Path(path).stem, "path": path}
    names = project.get_workflow_names()
    if not name and len(names) == 1:
        name = names[0]
    if not name:
        name = "main"
    return project.get_workflow(name)


def workflow_entry(
    project: Project, name: str, workflow: str | PathLike[str] | Callable[..., Any]
) -> dict[str, Any]:
    """Return the entry of a workflow: its file; of a function that is in none of the project's, the function."""
    if not callable(workflow):
        return {"name": name, "path": str(workflow)}
    plain = inspect.unwrap(workflow)
    file = Path(inspect.getsourcefile(plain) or "").absolute()
    handler = getattr(plain, "__qualname__", "")
    if handler.isidentifier() and file.suffix == ".py" and file.is_relative_to(project.context):
        return {
            "name": name,
            "path": file.relative_to(project.context).as_posix(),
            "handler": handler,
        }
    return {"name": name, "function": workflow}


def _perform(
    project: Project,
    entry: Mapping[str, Any],
    given: Mapping[str, Any],
    engine: str,
    options: Mapping[str, Any],
) -> Any:
    from mlrun.workflows.workflow import Plan, run_workflow

    function = _function(project, entry, str(options.get("workflow_handler") or ""))
    plan = Plan.of(function, str(entry.get("name") or ""))
    plan.name = str(entry.get("name") or plan.name)
    plan.cache = bool(options.get("cache", plan.cache))
    plan.notifications = options.get("notifications") or ()
    plan.labels = options.get("labels") or {}
    watch = bool(options.get("watch", True))
    before = active_project()
    set_active(project)
    try:
        return run_workflow(
            plan, given, project=project.name, engine=engine, resume=options.get("resume"),
            store=options.get("store") or project.store, executor=options.get("executor"),
            timeout=options.get("timeout"), watch=watch,
        )  # fmt: skip
    finally:
        if watch:  # one that goes on in its thread finds its functions in the current project
            set_active(before)


def _function(project: Project, entry: Mapping[str, Any], handler: str) -> Callable[..., Any]:
    """Return the workflow's function, out of its file."""
    from mlrun.functions.making import code_of_file
    from mlrun.functions.module import load_source
    from mlrun.project.source import inside

    if callable(known := entry.get("function")):
        return cast("Callable[..., Any]", known)
    place = str(entry.get("path") or "")
    if not place:
        raise ConfigError(f"workflow {entry.get('name')!r} of project {project.name!r} has no path")
    path = Path(project.context, place) if project.trusted else inside(project.context, place)
    code = code_of_file(path)
    module = load_source(code["text"], code["filename"], code.get("origin", ""))
    wanted = handler or str(entry.get("handler") or "")
    own = {
        k: v for k, v in vars(module).items()
        if callable(v) and getattr(v, "__module__", None) == module.__name__
    }  # fmt: skip
    if not wanted:
        marked = [k for k, v in own.items() if hasattr(v, "__mlrun_workflow__")]
        named = [k for k in (*_HANDLERS, str(entry.get("name") or "")) if k in own]
        wanted = marked[0] if len(marked) == 1 else (named[0] if named else "")
    if wanted not in own:
        hint = (
            did_you_mean(wanted, own)
            if wanted
            else f"; say which: {', '.join(own) or 'it has none'}"
        )
        raise NotFound(f"{path.name} has no workflow function {wanted!r}{hint}")
    found: Callable[..., Any] = own[wanted]
    return found


def _schedule(
    project: Project,
    entry: Mapping[str, Any],
    given: Mapping[str, Any],
    engine: str,
    options: Mapping[str, Any],
) -> Any:
    from mlrun.workflows.schedule import Schedule, put_schedule

    store = options.get("store") or project.store
    cron = options["schedule"]
    if isinstance(cron, Schedule):
        return put_schedule(store, cron)
    name = str(entry.get("name"))
    if not project.get_workflow(name).get("path"):
        raise ConfigError(
            f"workflow {name!r} is a function of this process: put it into a file of the project to schedule it"
        )
    project.save()  # it is found by its name when its time comes
    said = ("executor", "timeout", "notifications", "labels", "cache")
    target = {
        "kind": "workflow", "context": str(project.context), "workflow": name, "arguments": dict(given),
        "engine": engine, "options": {k: options[k] for k in said if options.get(k) is not None},
    }  # fmt: skip
    return put_schedule(store, Schedule(project.name, name, cron, target))
