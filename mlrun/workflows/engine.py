"""The engine: performs the steps of one workflow as they become ready, each a child run of the workflow's.

The workflow is a Python function that is called once, in this process. A step that it asks for is handed to a thread as
soon as all steps before it have ended; no thread waits for other steps, so that what is ready is never held up by what
is not. Conditions and loops are Python's own: looking at an output waits for it. So the graph is known in full only
when the function has returned; what it is then is stored with the run.

The step that was added last is held back until the workflow goes on (the next step, a look at an output, the end), so
that `.after(...)` never comes too late. A step's predecessors are therefore older than itself: there are no circles.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, MlrunError
from mlrun.execution.interrupt import Guard, RunAborted, asked_why, guarded
from mlrun.lookup.liveness import OPEN_STATES
from mlrun.names import clean_text
from mlrun.tables import RUNS
from mlrun.tracking import current, lifecycle
from mlrun.workflows.outputs import resolve
from mlrun.workflows.step import Call, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlrun.tracking.run import Run
    from mlrun.workflows.performing import Performer

__all__ = ["Engine", "active"]

_THREADS = 32  # steps in flight
_LOOK = 0.2  # seconds between two looks for steps that an abort has not reached
_active: ContextVar[Engine | None] = ContextVar("mlrun_workflow", default=None)


def active() -> Engine | None:
    """Return the engine whose workflow function is being called here, or None."""
    return _active.get()


class Engine:
    """Performs one workflow.

    Args:
        run: the workflow's run, open in this process.
        performer: performs one step.
        time_limit: seconds after which the workflow is aborted; None for never.

    Attributes:
        steps: in the order in which they were added.
    """

    def __init__(self, run: Run, performer: Performer, time_limit: float | None = None) -> None:
        self.run = run
        self.steps: list[Step] = []
        self._performer = performer
        self._time_limit = time_limit
        self._lock = threading.RLock()
        self._held: Step | None = None
        self._waiting: list[Step] = []
        self._closed = ""  # why no step can be added
        self._cut = 0  # steps before this number do not begin any more
        self._why = ""
        self._at_end: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlrun-step")

    def perform(
        self, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> tuple[str, str | None]:
        """Call the workflow function and wait for its steps and exit handlers.

        Returns:
            The state and error that the workflow's run ends with.

        Raises:
            KeyboardInterrupt, SystemExit: after the steps were aborted.
        """
        state, error = "error", None
        guard: Guard | None = None
        token = _active.set(self)
        try:
            with current.bind(self.run):
                try:
                    with guarded(self.run, time_limit=self._time_limit) as guard:
                        state, error = self._call(function, arguments)
                    if state == "error" and (why := asked_why(self.run)):
                        state, error = "aborted", why  # its steps heard of it first
                except RunAborted as failure:
                    # in a thread it comes without its text
                    error = str(failure) or (guard.why if guard else "") or "it was aborted"
                    state = "aborted"
                    self._stop(error)
                except BaseException as failure:
                    state, error = lifecycle.outcome_of(failure)
                    self._stop(f"the workflow was {state}")
                    raise
                finally:
                    self._exit(state, error)
        finally:
            _active.reset(token)
            self._pool.shutdown(wait=True)
        return state, error

    def _call(
        self, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> tuple[str, str | None]:
        failure: Exception | None = None
        try:
            made = function(**arguments)
            self._until_ended()
            self._keep(made)
        except Exception as raised:  # noqa: BLE001  it becomes the run's end; steps asked for are brought to theirs
            failure = raised
            self._closed = "the workflow has failed"
            self._until_ended()
        if any(s.failed for s in self.steps) and (
            failure is None or isinstance(failure, MlrunError)
        ):
            return "error", self._judged()
        return lifecycle.outcome_of(failure)

    def _until_ended(self, first: int = 0) -> None:
        self.release()
        for step in self.steps[first:]:
            step.until_ended()

    # -- steps ------------------------------------------------------------------------------------

    def step(self, call: Call, name: str, after: Iterable[Step] = ()) -> Step:
        """Add a step, which begins when those before it have ended and the workflow has gone on.

        Raises:
            ConfigError: the workflow is ending.
        """
        if self._closed:
            raise ConfigError(f"no step can be added: {self._closed}")
        self.release()
        with self._lock:
            step = Step(self._named(clean_text(name)[0]), call, after, self.release)
            self.steps.append(step)
            self._held = step
        return step

    def at_end(self, function: Callable[..., Any], **arguments: Any) -> None:
        """Call `function` when the workflow has ended, however: an exit handler. It may run steps."""
        self._at_end.append((function, arguments))

    def release(self) -> None:
        """Let the step that was added last begin."""
        with self._lock:
            step, self._held = self._held, None
            if step is None:
                return
            step.release()
            self._waiting.append(step)
        self._begin_ready()

    def _begin_ready(self) -> None:
        with self._lock:
            ready = [s for s in self._waiting if all(b.ended for b in s.before)]
            self._waiting = [s for s in self._waiting if s not in ready]
            for step in ready:
                self._pool.submit(self._perform, step)

    def _named(self, name: str) -> str:
        taken = {s.name for s in self.steps}
        number, found = 2, name
        while found in taken:
            found, number = f"{name}-{number}", number + 1
        return found

    def _perform(self, step: Step) -> None:
        try:
            if self.steps.index(step) < self._cut:
                self._performer.skip(step, self._why)
            elif failed := [b.name for b in step.before if b.failed]:
                self._performer.skip(step, f"step {failed[0]!r} before it failed")
            else:
                self._performer.perform(step)
        except BaseException as error:  # noqa: BLE001  the step has failed, and the workflow says so
            self._performer.fail(step, error)
        finally:
            self._begin_ready()

    # -- the end ----------------------------------------------------------------------------------

    def _judged(self) -> str:
        failed = [s for s in self.steps if s.failed]
        first = [s for s in failed if s._state != "skipped"] or failed
        told = "; ".join(f"{s.name}: {_last_line(s.why)}" for s in first[:5])
        more = len(failed) - len(first)
        skipped = f", {more} after them skipped" if more else ""
        return f"{len(first)} of {len(self.steps)} steps failed{skipped}: {told}"

    def _keep(self, made: Any) -> None:
        """Keep what the workflow function returned: a dict by its keys, anything else as `return`."""
        if made is None or isinstance(made, Step) or any(s.failed for s in self.steps):
            return
        self.run.log_results(resolve(made if isinstance(made, dict) else {"return": made}))

    def _stop(self, why: str) -> None:
        """Let no further step begin, abort those that run."""
        self._closed = self._why = why
        self._cut = len(self.steps)
        self.release()
        store = self.run.store
        while not all(s.ended for s in self.steps):
            for row in store.records.lookup(RUNS, {"parent": self.run.id}):
                if row["state"] in OPEN_STATES and row["state"] != "aborting":
                    from mlrun.execution.abort import abort_run

                    with suppress(MlrunError):
                        abort_run(store, row["run_id"], reason=why, timeout=0)
            running = next((s for s in self.steps if not s.ended), None)
            if running is not None:
                running._ended.wait(_LOOK)

    def _exit(self, state: str, error: str | None) -> None:
        """Call the exit handlers; what they ask for begins, also after an abort."""
        handlers, self._at_end = self._at_end, []
        self._closed = ""
        for function, arguments in handlers:
            begun = len(self.steps)
            try:
                function(**{**_facts(function, state, error), **arguments})
                self._until_ended(begun)
            except Exception as failure:  # noqa: BLE001  the others are called all the same
                self.run.warn(
                    "exit", f"an exit handler failed: {type(failure).__name__}: {failure}"
                )
        self._closed = "the workflow has ended"


def _facts(function: Callable[..., Any], state: str, error: str | None) -> dict[str, Any]:
    """Return what an exit handler asks for by name: `state` and `error`."""
    import inspect

    try:
        wanted = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {k: v for k, v in {"state": state, "error": error}.items() if k in wanted}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
