"""perform: what a worker does with a task: open the run, call the handler, store what it returns, end the run."""

from __future__ import annotations

import asyncio
import inspect
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlrun.config import Settings
from mlrun.errors import ConfigError, MlrunError
from mlrun.execution.announce import announced
from mlrun.execution.binding import bind_arguments
from mlrun.execution.environment import environment
from mlrun.execution.hooks import ended, started
from mlrun.execution.interrupt import RunAborted, asked_why, guarded
from mlrun.execution.script import is_script, run_script
from mlrun.execution.task import Task
from mlrun.functions.module import load_callable
from mlrun.redact import redact_text
from mlrun.store import open_store
from mlrun.tables import RUNS
from mlrun.tracking import current, lifecycle
from mlrun.tracking.capture import FIRST_LINES
from mlrun.tracking.resume import find_stored
from mlrun.tracking.start import About, open_run
from mlrun.tracking.values import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from mlrun.store import Store
    from mlrun.tracking.run import Run

__all__ = ["perform"]

_HOME = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_FEW_LETTERS = 16_384
_REFUSED = frozenset({"completed", "error", "skipped", "aborted", "aborting"})


def perform(
    task: Task | Mapping[str, Any] | str, values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Perform one run, from its start to its end.

    Never raises for what the function does: the run ends as `error`, and so does the outcome.

    Args:
        task: a `Task`, its dict or its JSON.
        values: inputs that travel as values (frames, tables, arrays), by name.

    Returns:
        `{"run_id", "state", "results", "error", "iteration", "lines", "printed"}`: JSON values; `lines` is how
        many lines of the console were stored, `printed` these lines if they are few.

    Raises:
        StoreError, ConfigError: the run's store cannot be opened here.
    """
    if not isinstance(task, Task):
        task = Task.from_json(task) if isinstance(task, str) else Task.from_dict(task)
    known = _settings(task)
    store = None if known.mode == "disabled" else open_store(given=known)
    found: dict[str, Any] = {}
    if store is not None and not task.fresh:
        found = _look_up(store, task.run_id)
        if found and found["state"] in _REFUSED:
            return _refused(store, task, found)
    run = open_run(
        store,
        known,
        _about(task, found),
        run_id=task.run_id,
        watch=task.captures,
        taken=found,
        known=announced(task, found),
    )
    run.task, run.values = task, dict(values or {})
    if not found and task.captures:
        run.set_provenance({"task": task.record()})
    state, error = _attempt(task, run, values)
    run.end(state, error, settle="later" if task.settle and task.worker else task.settle)
    return {
        "run_id": run.id,
        "state": run.state,
        "results": {k: decode(encode(v)[0]) for k, v in run.results.items()},
        "error": run.error,
        "iteration": task.iteration,
        "lines": run.lines,
        "printed": _few_lines(run),
    }


def _few_lines(run: Run) -> list[str]:
    """Return the console lines of a run that printed little, so that whoever waits need not read them."""
    few = run.lines <= FIRST_LINES and sum(map(len, run.first_lines)) <= _FEW_LETTERS
    return run.first_lines if few else []


def _settings(task: Task) -> Settings:
    """Return the settings as the driver had them; what this process's environment says is for its own runs."""
    carried = {**task.settings, **task.store}
    return _settings_of(task.project, tuple(sorted(carried.items())))


@lru_cache(maxsize=256)
def _settings_of(project: str, carried: tuple[tuple[str, Any], ...]) -> Settings:
    known = Settings.__dataclass_fields__
    given = {k: v for k, v in carried if k in known}
    key = os.environ.get("MLRUN_API_KEY", "")
    return Settings(**{**given, "project": project, "strict": True, "api_key": key})


def _look_up(store: Store, run_id: str) -> dict[str, Any]:
    """Return the run's row; its driver wrote it straight into the records, so the journal is seldom asked."""
    rows = store.records.lookup(RUNS, {"run_id": run_id})
    return rows[0] if rows else find_stored(store, run_id) or {}


def _refused(store: Store, task: Task, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of a run that was ended before it began."""
    from mlrun.execution.states import move

    state, error = str(found["state"]), found["error"]
    if state == "aborting":
        state = "aborted"
        move(store, task.run_id, state)
    said = error or f"the run was {state} before it began"
    return {
        "run_id": task.run_id, "state": state, "results": {}, "error": said,
        "iteration": task.iteration, "lines": 0,
    }  # fmt: skip


def _about(task: Task, found: Mapping[str, Any]) -> About:
    if found:  # all of it was recorded when the run was announced
        return About(labels={"mlrun/attempt": task.attempt} if task.attempt else None)
    return About(
        name=task.name,
        config=task.params or None,
        tags=task.tags,
        labels=task.labels or None,
        parent=task.parent,
        notes=task.notes,
        kind=task.kind,
        function=task.function_uri or None,
        iteration=task.iteration,
    )


def _attempt(task: Task, run: Run, values: Mapping[str, Any] | None) -> tuple[str, str | None]:
    """Call the handler; returns the state and error that the run ends with."""
    guard = None
    try:
        with (
            environment(task.function.get("env"), task.secrets, run=(run.store, run.id)),
            current.bind(run),
            guarded(run, time_limit=task.time_limit, expendable=task.worker) as guard,
        ):
            _call(task, run, values or {})
    except BaseException as failure:  # noqa: BLE001  whatever the function raised is the run's end
        ended(run, failure)
        if isinstance(failure, RunAborted):
            return "aborted", str(failure)
        state, error = _outcome_of(failure)
        return state, asked_why(run) or error if state == "aborted" else error
    if guard.why:  # the handler caught the interrupt
        return "aborted", guard.why
    return "completed", None


def _call(task: Task, run: Run, values: Mapping[str, Any]) -> None:
    if not task.worker and task.function.get("requirements"):
        _check_requirements(tuple(task.function["requirements"]))
    if is_script(task):
        run_script(task, run)
        return
    handler = load_callable(task.function, task.handler or None)
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise _yields(handler)
    args, kwargs = bind_arguments(handler, run, task.params, {**task.inputs, **values})
    started(run)
    made = handler(*args, **kwargs)
    if inspect.isawaitable(made):
        made = asyncio.run(_awaited(made))
    if inspect.isgenerator(made) or inspect.isasyncgen(made):
        raise _yields(handler)
    if made is not None or task.returns:
        _keep(task, run, made)
    ended(run, None)


@lru_cache(maxsize=64)
def _check_requirements(requirements: tuple[str, ...]) -> None:
    """Refuse what is not installed in the caller's process; executors see to it in theirs."""
    from mlrun.functions.requirements import missing_requirements

    if absent := missing_requirements(requirements):
        raise ConfigError(
            f"not installed here: {', '.join(absent)}; pip install them, or take another executor"
        )


def _outcome_of(failure: BaseException) -> tuple[str, str | None]:
    """Return state and error; our own frames above the handler, and our own complaints, need no traceback."""
    trace = failure.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    if trace is None and isinstance(failure, MlrunError):
        return "error", redact_text(f"{type(failure).__name__}: {failure}")
    return lifecycle.outcome_of(failure.with_traceback(trace) if trace is not None else failure)


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(_HOME)


async def _awaited(made: Any) -> Any:
    return await made


def _yields(handler: Callable[..., Any]) -> ConfigError:
    name = getattr(handler, "__qualname__", repr(handler))
    return ConfigError(
        f"{name}() is a generator: a handler that yields cannot be run; log as you go, and return the result"
    )


def _keep(task: Task, run: Run, made: Any) -> None:
    if not task.returns and type(made) in (int, float, bool, str):
        if made != "":
            run.log_result("return", made)
        return
    from mlrun.packing.hints import parse_hints
    from mlrun.packing.packers import pack_returns

    pack_returns(run, made, parse_hints(task.returns))
