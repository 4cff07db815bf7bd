"""Workflows: graphs of function runs, written as a Python function."""

from __future__ import annotations

import functools
import inspect
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, NotFound, did_you_mean
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run
from mlrun.view import RunView
from mlrun.workflows.engine import Engine, active
from mlrun.workflows.notification import Ending, parse_notifications, push
from mlrun.workflows.picture import Node, mermaid, svg
from mlrun.workflows.reuse import Reuse
from mlrun.workflows.step import Call, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlrun.config import Settings
    from mlrun.store import Store
    from mlrun.tracking.run import Run

__all__ = ["Plan", "add_step", "on_exit", "run_workflow", "workflow"]

_ENGINES = {"": None, "local": "local", "ray": "ray"}


def workflow(
    function: Callable[..., Any] | None = None, *, name: str = "", cache: bool = False
) -> Any:
    """Mark a function as a workflow; called outside one, it runs as a workflow of its own.

    Inside, `project.run_function(...)` and `fn.as_step(...)` return a `Step` at once; steps run as soon as what they
    take is there, those that take nothing of each other side by side. `step.outputs["key"]` given to another step makes
    it wait; looked at (`if`, `for`, `print`), it makes the workflow wait.

    Args:
        function: the function.
        name: default its own.
        cache: take the outputs of earlier steps of the project that ran the same function version with the same
            parameters and inputs, unless a step says `cache=False`.

    Example:
        >>> import mlrun
        >>> def double(context, x):
        ...     context.log_result("y", 2 * x)
        >>> @mlrun.workflow
        ... def twice(x=1):
        ...     first = mlrun.new_function("double", handler=double).as_step(params={"x": x})
        ...     second = mlrun.new_function("double", handler=double).as_step(params={"x": first.outputs["y"]})
        ...     return {"y": second.outputs["y"]}
        >>> twice(x=3).results["y"]
        12
    """
    if function is None:
        return functools.partial(workflow, name=name, cache=cache)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if active() is not None:  # a part of another workflow
            return function(*args, **kwargs)
        bound = inspect.signature(function).bind(*args, **kwargs)
        return run_workflow(Plan(function, name or function.__name__, cache=cache), bound.arguments)

    call.__mlrun_workflow__ = Plan(function, name or function.__name__, cache=cache)  # type: ignore[attr-defined]
    return call


@dataclass
class Plan:
    """A workflow before it runs.

    Attributes:
        function: what is called, with the workflow's arguments.
        name: what people call it.
        cache: see `workflow`.
        notifications: who is told of its end.
        labels: of its run.
    """

    function: Callable[..., Any]
    name: str
    cache: bool = False
    notifications: Iterable[Any] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, function: Callable[..., Any], name: str = "") -> Plan:
        """Return the plan of a function, marked or not."""
        found: Plan | None = getattr(function, "__mlrun_workflow__", None)
        if found is None:
            return cls(function, name or getattr(function, "__name__", "workflow"))
        return cls(found.function, name or found.name, found.cache)


def run_workflow(
    plan: Plan,
    arguments: Mapping[str, Any] | None = None,
    *,
    project: str | None = None,
    engine: str = "",
    resume: str | None = None,
    store: Store | str | None = None,
    settings: Settings | None = None,
) -> RunView:
    """Run a workflow to its end.

    Args:
        plan: what to run.
        arguments: of the workflow's function.
        project: where its run belongs.
        engine: "local" or "ray": where steps run that do not say; default as `fn.run` chooses.
        resume: id of an earlier run of this workflow: its completed steps whose function, parameters and inputs are
            the same are taken, the others run. Arguments left out are the earlier one's.
        store: where it is kept.
        settings: default those that hold here.

    Returns:
        The view of the workflow's run: kind "workflow", its steps are its children.

    Raises:
        ConfigError: unknown arguments or engine; no run was made.
        RunError: it ended in error; `.run` is its view.
    """
    from mlrun.config import settings as read_settings
    from mlrun.execution.launch import finished
    from mlrun.execution.places import chosen
    from mlrun.store import open_store

    if engine not in _ENGINES:
        raise ConfigError(
            f"engine is local or ray, not {engine!r}{did_you_mean(engine, ['local', 'ray'])}"
        )
    known = settings or read_settings(project=project)
    place = open_store(store, given=None if store is not None else known)
    given = dict(arguments or {})
    if resume is not None:
        given = {**_arguments_of(place, resume), **given}
    _check_arguments(plan, given)
    notifications = parse_notifications(plan.notifications)
    about = About(name=plan.name, config=given, labels=plan.labels or None, kind="workflow")
    run = open_run(place, known, about, taken={})
    run.set_provenance({"workflow": {"name": plan.name, "engine": engine, "resumed": resume}})
    sys.stderr.flush()
    executor = _ENGINES[engine] or chosen(False, None, known)
    steps = Engine(run, executor, Reuse(place, run.project, resume), cache=plan.cache)
    error: str | None
    try:
        state, error = steps.perform(plan.function, given)
    except BaseException as failure:
        _end(run, steps, *lifecycle.outcome_of(failure), notifications)
        raise
    _end(run, steps, state, error, notifications)
    return finished(place, run.id, {"state": run.state, "error": error})


def add_step(
    function: Any,
    *,
    name: str = "",
    cache: bool = False,
    after: Iterable[Step] = (),
    **options: Any,
) -> Step:
    """Add a step to the workflow whose function is being called.

    Args:
        function: what the step runs.
        name: default the function's.
        cache: see `workflow`.
        after: steps that it comes after though it takes nothing of theirs.
        **options: the arguments of `fn.run`.

    Raises:
        ConfigError: no workflow is being called here.
    """
    engine = active()
    if engine is None:
        raise ConfigError(
            "a step is part of a workflow: call this inside a function marked @mlrun.workflow"
        )
    call = Call(
        function,
        options.pop("params", None) or {},
        options.pop("inputs", None) or {},
        options,
        cache,
    )
    return engine.step(call, name or function.spec.name or "step", list(after))


def on_exit(function: Callable[..., Any], **arguments: Any) -> None:
    """Call `function` when the workflow ends, however it ends; it may run steps.

    Raises:
        ConfigError: no workflow is being called here.
    """
    engine = active()
    if engine is None:
        raise ConfigError("on_exit is for a function marked @mlrun.workflow")
    engine.at_end(function, **arguments)


def _end(run: Run, engine: Engine, state: str, error: str | None, notifications: list[Any]) -> None:
    nodes = [Node(s.name, s.state, tuple(b.name for b in s.before)) for s in engine.steps]
    graph = [{"name": n.name, "before": list(n.before)} for n in nodes]
    run.set_provenance({"graph": graph, "mermaid": mermaid(nodes)})
    if nodes:
        run.log_artifact(
            "workflow_graph", body=svg(nodes), type="figure", metadata={"format": "svg"}
        )
    run.end(state, error)
    if notifications:
        rows = tuple({"name": n.name, "state": n.state} for n in nodes)
        ending = Ending(
            run.id, run.name, run.project, state, error, run.results, what="workflow", rows=rows
        )
        push(notifications, ending)


def _arguments_of(store: Store, run_id: str) -> dict[str, Any]:
    from mlrun.tracking.runconfig import nest

    view = RunView(store, run_id)
    if view.record["kind"] != "workflow":
        raise NotFound(f"run {run_id!r} is no workflow: it cannot be resumed as one")
    return nest(view.params)


def _check_arguments(plan: Plan, given: Mapping[str, Any]) -> None:
    signature = inspect.signature(plan.function)
    try:
        signature.bind(**given)
    except TypeError as error:
        unknown = [k for k in given if k not in signature.parameters]
        hint = did_you_mean(unknown[0], signature.parameters) if unknown else ""
        raise ConfigError(f"workflow {plan.name!r}: {error}{hint}") from None
