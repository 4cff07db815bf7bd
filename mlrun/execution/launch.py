"""launch: how `fn.run(...)` becomes a run: described, recorded, handed to an executor, watched to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.config import settings as read_settings
from mlrun.errors import ConfigError, RunError
from mlrun.execution.dispatch import Dispatch
from mlrun.execution.inputs import check_inputs, split_hints
from mlrun.execution.places import HERE, chosen, place
from mlrun.execution.retrypolicy import RetryPolicy
from mlrun.execution.secrets import check_references
from mlrun.execution.task import STORE_SETTINGS, Task, carried_settings
from mlrun.execution.telling import Told
from mlrun.execution.thresholds import limits_of
from mlrun.ids import uuid7
from mlrun.store import Store, open_store
from mlrun.view import RunView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlrun.config import Settings
    from mlrun.execution.law import Needs

__all__ = ["Request", "describe", "finished", "run"]


@dataclass
class Request:
    """What `fn.run` was asked for, beside the function; see `Function.run` for each."""

    handler: str = ""
    name: str = ""
    project: str = ""
    params: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    returns: Sequence[Any] | str | None = None
    labels: Mapping[str, Any] | None = None
    tags: Sequence[str] = ()
    notes: str | None = None
    parent: Any = None
    iteration: int | None = None
    secrets: Mapping[str, str] | None = None
    retry: Any = None
    state_thresholds: Mapping[str, Any] | None = None
    time_limit: Any = None
    notifications: Sequence[Any] | None = None
    store: Store | str | Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def run(
    function: Any,
    *,
    hyperparams: Mapping[str, Any] | None = None,
    hyper_param_options: Any = None,
    local: bool = False,
    executor: Any = None,
    watch: bool = True,
    follow: bool | None = None,
    needs: Needs | None = None,
    **asked: Any,
) -> RunView:
    """Run a function.

    Args:
        function: has `.spec.to_dict()`, and `.uri` and `.needs()` where it is a `Function`.
        hyperparams: lists of values by param: run it once for each combination.
        hyper_param_options: how, see `mlrun.HyperParamOptions`.
        local: perform it here; the same as executor="local".
        executor: name of an executor, or one.
        watch: wait for its end, pass its log on to stderr, and raise if it ends in error. Without, return at once.
        follow: pass its log on to stderr; default as `watch`.
        needs: what it needs of the place; default what the function says.
        **asked: the fields of `Request`.

    Raises:
        RunError: it ended in error; `.run` is its view.
        ConfigError: an argument has no meaning.
    """
    request = _request(asked)
    known = read_settings(project=request.project or None, **request.settings)
    store = open_store(request.store, given=None if request.store is not None else known)
    task, values = describe(function, request, known, store)
    where = chosen(local, executor, known)
    dispatch = Dispatch(
        store,
        needs=needs or _needs(function, task.function),
        limits=_limits(request, task.function),
        retry=RetryPolicy.of(_first(request.retry, task.function.get("retry"))),
        follow=watch if follow is None else follow,
        told=Told.of(request.notifications),
    )
    if hyperparams or hyper_param_options is not None:
        from mlrun.execution.sweeping import Sweeping

        return Sweeping(dispatch, task, values, hyperparams, hyper_param_options).run(where, watch)
    dispatch.where = None if where == HERE and watch else place(where)
    if not watch:
        dispatch.start(task, values)
        return RunView(store, task.run_id, later=True)
    return finished(store, task.run_id, dispatch.perform(task, values))


def _limits(request: Request, spec: Mapping[str, Any]) -> dict[str, float]:
    phases = {**(spec.get("state_thresholds") or {}), **(request.state_thresholds or {})}
    return limits_of(phases, _first(request.time_limit, spec.get("time_limit")))


def _first(given: Any, default: Any) -> Any:
    return default if given is None else given


def _needs(function: Any, spec: Mapping[str, Any]) -> Needs:
    ask = getattr(function, "needs", None)
    if not callable(ask):
        from mlrun.functions.needing import as_needs
        from mlrun.functions.spec import FunctionSpec

        return as_needs(FunctionSpec.from_dict(spec))
    found: Needs = ask()
    return found


def finished(store: Store, run_id: str, outcome: Mapping[str, Any]) -> RunView:
    """Return the view of a run that was waited for.

    Raises:
        RunError: it ended in error, was lost or aborted.
    """
    view = RunView(store, run_id, later=True)
    if outcome["state"] not in ("completed", "skipped"):
        said = outcome["error"] or view.error or "no message"
        raise RunError(f"run {view.name!r} ended as {outcome['state']}: {said}", view)
    return view


def describe(
    function: Any, request: Request, known: Settings, store: Store
) -> tuple[Task, dict[str, Any]]:
    """Return the task of a request, and the inputs that have no JSON form and travel beside it."""
    spec = function.spec.to_dict()
    project = known.project
    if not request.project and spec.get("project"):
        project = str(spec["project"])
    inputs, hints = split_hints(check_inputs(request.inputs))
    named = {k: v for k, v in inputs.items() if isinstance(v, str)}
    paths = {k: str(v.absolute()) for k, v in inputs.items() if hasattr(v, "absolute")}
    stored = {k: v.uri for k, v in inputs.items() if _is_stored(v)}
    beside = {k: v for k, v in inputs.items() if k not in named | paths | stored}
    handler = request.handler
    task = Task(
        run_id=uuid7(),
        name=request.name or spec.get("name") or _called(handler) or "run",
        project=project,
        function=spec,
        function_uri=_version(function, store),
        handler=handler,
        params=_mapping("params", request.params),
        inputs={**named, **paths, **stored},
        hints=hints,
        returns=_listed(request.returns),
        parent=getattr(request.parent, "id", request.parent),
        iteration=request.iteration,
        kind=str(spec.get("kind") or "job"),
        labels=_mapping("labels", request.labels),
        tags=[request.tags] if isinstance(request.tags, str) else list(request.tags),
        notes=request.notes,
        store=_place_of(store, known),
        settings=carried_settings(known),
        secrets=check_references({**(spec.get("secrets") or {}), **(request.secrets or {})}),
    )
    return task, beside


def _request(asked: dict[str, Any]) -> Request:
    from mlrun.errors import did_you_mean

    for name in asked:
        if name not in Request.__dataclass_fields__:
            known = [*Request.__dataclass_fields__, "local", "executor", "watch", "hyperparams"]
            raise ConfigError(f"run() has no argument {name!r}{did_you_mean(name, known)}")
    return Request(**{k: v for k, v in asked.items() if v is not None})


def _mapping(what: str, given: Any) -> dict[str, Any]:
    if given and not hasattr(given, "items"):
        raise ConfigError(f"{what} is a dict of names and values, not {type(given).__name__}")
    return dict(given or {})


def _is_stored(value: Any) -> bool:
    uri = getattr(value, "uri", "")
    return isinstance(uri, str) and uri.startswith("store://")


def _called(handler: str) -> str:
    return handler.replace("::", ".").rpartition(".")[2]


def _version(function: Any, store: Store) -> str:
    """Return the name of the function's exact version, which is stored by now; empty for what is no `Function`."""
    versioned = getattr(function, "versioned_uri", None)
    return str(versioned(store) if callable(versioned) else getattr(function, "uri", "") or "")


def _listed(returns: Any) -> list[Any]:
    from dataclasses import asdict, is_dataclass

    if returns is None:
        return []
    given = [returns] if isinstance(returns, str) or hasattr(returns, "items") else list(returns)
    from mlrun.packing.hints import parse_hints

    parse_hints(given)  # a hint without meaning costs no run
    return [asdict(g) if is_dataclass(g) and not isinstance(g, type) else g for g in given]


def _place_of(store: Store, known: Settings) -> dict[str, str]:
    found = {n: str(getattr(known, n)) for n in STORE_SETTINGS if getattr(known, n)}
    return {**found, "dbpath": store.url}
