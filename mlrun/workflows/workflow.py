"""Workflows: graphs of function runs, written as a Python function."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean
from mlrun.workflows.engine import active
from mlrun.workflows.step import Call, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlrun.config import Settings
    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["Plan", "add_step", "on_exit", "run_workflow", "workflow"]

_ENGINES = ("local", "ray")
_NOT_OF_STEPS = ("parent", "store", "settings", "iteration", "notifications")
_PASSED_OVER = ("watch", "project")  # what a workflow's run says itself


def workflow(
    function: Callable[..., Any] | None = None, *, name: str = "", cache: bool = False
) -> Callable[..., Any]:
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
    executor: Any = None,
    parent: str | None = None,
    timeout: Any = None,
    watch: bool = True,
) -> RunView:
    """Run a workflow.

    Args:
        plan: what to run.
        arguments: of the workflow's function.
        project: where its run belongs.
        engine: "local" or "ray": where steps run that do not say; default as `fn.run` chooses.
        resume: id of an earlier run of this workflow: its completed steps whose function, parameters and inputs are
            the same are taken, the others run. Arguments left out are the earlier one's.
        store: where it is kept.
        settings: default those that hold here.
        executor: an executor or its name, instead of an engine.
        parent: id of the run that it is an attempt of.
        timeout: seconds, or text such as "2h", after which it is aborted with its steps.
        watch: wait for its end. Without, it goes on in a thread of this process, which does not end before it.

    Returns:
        The view of the workflow's run: kind "workflow", its steps are its children.

    Raises:
        ConfigError: unknown arguments or engine; no run was made.
        RunError: it did not complete; `.run` is its view.
    """
    from mlrun.config import settings as read_settings
    from mlrun.execution.places import chosen
    from mlrun.execution.thresholds import seconds
    from mlrun.store import open_store
    from mlrun.workflows.driving import Driver, arguments_of

    if engine and engine not in _ENGINES:
        hint = did_you_mean(engine, _ENGINES)
        raise ConfigError(f"engine is local or ray, not {engine!r}{hint}")
    known = settings or read_settings(project=project)
    place = open_store(store, given=None if store is not None else known)
    given = dict(arguments or {})
    if resume is not None:
        given = arguments_of(place, resume, given)
    _check_arguments(plan, given)
    driver = Driver.open(
        plan, given, place, known, executor or engine or chosen(False, None, known),
        resume=resume, parent=parent, time_limit=seconds(timeout),
    )  # fmt: skip
    return driver.perform() if watch else driver.start()


def add_step(
    function: Any,
    *,
    name: str = "",
    cache: bool | None = None,
    after: Iterable[Step] | Step = (),
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
        ConfigError: no workflow is being called here, or an argument has no meaning for a step.
    """
    engine = active()
    if engine is None:
        raise ConfigError(
            "a step is part of a workflow: call this inside a function marked @mlrun.workflow"
        )
    options = {k: v for k, v in options.items() if v is not None and k not in _PASSED_OVER}
    _check_options(options)
    params, inputs = options.pop("params", None) or {}, options.pop("inputs", None) or {}
    before = [after] if isinstance(after, Step) else list(after)
    call = Call(function, params, inputs, options, cache)
    return engine.step(call, name or function.spec.name or "step", before)


def _check_options(options: Mapping[str, Any]) -> None:
    from mlrun.execution.launch import Request

    own = ("local", "executor", "hyperparams", "hyper_param_options")
    known = [*(k for k in Request.__dataclass_fields__ if k not in _NOT_OF_STEPS), *own]
    for name in options:
        if name in _NOT_OF_STEPS or name == "schedule":
            raise ConfigError(f"{name}= is for a run of its own, or the workflow: not for a step")
        if name not in known:
            raise ConfigError(f"a step has no argument {name!r}{did_you_mean(name, known)}")


def on_exit(function: Callable[..., Any], **arguments: Any) -> None:
    """Call `function` when the workflow ends, however it ends; it may run steps.

    Args:
        function: gets the state that the workflow ends in as `state`, and why as `error`, if it has such parameters.
        **arguments: what else it gets.

    Raises:
        ConfigError: no workflow is being called here.
    """
    engine = active()
    if engine is None:
        raise ConfigError("on_exit is for a function marked @mlrun.workflow")
    engine.at_end(function, **arguments)


def _check_arguments(plan: Plan, given: Mapping[str, Any]) -> None:
    signature = inspect.signature(plan.function)
    try:
        signature.bind(**given)
    except TypeError as error:
        unknown = [k for k in given if k not in signature.parameters]
        hint = did_you_mean(unknown[0], signature.parameters) if unknown else ""
        raise ConfigError(f"workflow {plan.name!r}: {error}{hint}") from None
