"""The engine: performs the steps of one workflow as they become ready, each a child run of the workflow's.

The workflow is a Python function that is called once, in this process. Every step it asks for is handed to a thread,
which waits for the steps before it, looks whether the same was done before, and runs the function on the workflow's
executor. Conditions and loops are Python's own: looking at an output waits for it. So the graph is known in full only
when the function has returned; what it is then is stored with the run.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, RunError
from mlrun.tracking import lifecycle
from mlrun.workflows.cachekey import cache_key
from mlrun.workflows.outputs import resolve
from mlrun.workflows.step import Call, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.tracking.run import Run
    from mlrun.view import RunView
    from mlrun.workflows.reuse import Reuse

__all__ = ["Engine", "active"]

_THREADS = 32  # steps in flight; those before a step were handed out before it, so they never wait for one another
_active: ContextVar[Engine | None] = ContextVar("mlrun_workflow", default=None)


def active() -> Engine | None:
    """Return the engine whose workflow function is being called here, or None."""
    return _active.get()


class Engine:
    """Performs one workflow.

    Args:
        run: the workflow's run, open in this process.
        executor: name or instance of the executor that steps run on.
        reuse: what of earlier runs may be taken instead of running a step.
        cache: whether steps look for earlier runs of theirs unless they say otherwise.
    """

    def __init__(self, run: Run, executor: Any, reuse: Reuse, *, cache: bool = False) -> None:
        self.run = run
        self.steps: list[Step] = []
        self._executor = executor
        self._reuse = reuse
        self._cache = cache
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlrun-step")
        self._stopping = ""
        self._at_end: list[tuple[Callable[..., Any], dict[str, Any]]] = []

    def perform(
        self, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> tuple[str, str | None]:
        """Call the workflow function and wait for its steps.

        Returns:
            The state and error that the workflow's run ends with.

        Raises:
            KeyboardInterrupt, SystemExit: after the steps were cancelled.
        """
        token = _active.set(self)
        state, error = "completed", None
        try:
            try:
                self._keep(function(**arguments))
                for step in list(self.steps):
                    step.until_ended()
            except BaseException as failure:
                state, error = lifecycle.outcome_of(failure)
                self._stop(f"the workflow ended as {state}")
                if not isinstance(failure, Exception):
                    raise
            if state == "completed":
                state, error = self._judged()
        finally:
            _active.reset(token)
            self._exit(state, error)
            self._pool.shutdown(wait=True, cancel_futures=True)
        return state, error

    def step(
        self,
        call: Call,
        name: str,
        after: list[Step] | None = None,
    ) -> Step:
        """Add a step, and start it as soon as those before it have ended."""
        if self._stopping:
            raise ConfigError(f"no step can be added: {self._stopping}")
        with self._lock:
            step = Step(self._named(name), call)
            step.before += [s for s in after or () if s not in step.before]
            self.steps.append(step)
        self._pool.submit(self._perform, step)
        return step

    def at_end(self, function: Callable[..., Any], **arguments: Any) -> None:
        """Call `function` when the workflow has ended, however: an exit handler. It may run steps."""
        self._at_end.append((function, arguments))

    def _named(self, name: str) -> str:
        taken = {s.name for s in self.steps}
        number, found = 2, name
        while found in taken:
            found, number = f"{name}-{number}", number + 1
        return found

    def _perform(self, step: Step) -> None:
        try:
            for before in step.before:
                before.until_ended()
            step.begin()
            if self._stopping:
                self._skip(step, self._stopping)
            elif failed := [b.name for b in step.before if b.failed]:
                self._skip(step, f"step {failed[0]!r} before it failed")
            else:
                self._run(step)
        except BaseException as error:  # noqa: BLE001  the step has failed, and the workflow says so
            told = error.run if isinstance(error, RunError) else None
            view: Any = told
            step.end("error", view, str(error))

    def _run(self, step: Step) -> None:
        call = step.call
        params, inputs = resolve(dict(call.params)), resolve(dict(call.inputs))
        key = cache_key(call, params, inputs, self._store, self.run.project)
        wanted = call.cache or self._cache
        if key is not None and (found := self._reuse.find(step.name, key, cached=wanted)):
            step.end("skipped", self._reuse.take(self.run, step.name, found, key))
            step.run_id = step.wait().id
            return
        step.state = "running"
        labels = {"mlrun/step": step.name, **({"mlrun/cache-key": key} if key else {})}
        view = self._launched(step, params, inputs, labels)
        step.run_id = view.id
        view.wait_for_completion()
        failed = view.state not in ("completed", "skipped")
        step.end(view.state, view, (view.error or f"it is {view.state}") if failed else "")

    def _launched(self, step: Step, params: Any, inputs: Any, labels: Mapping[str, str]) -> RunView:
        from mlrun.execution import launch

        options = dict(step.call.options)
        given = {**(options.pop("labels", None) or {}), **labels}
        where = options.pop("executor", None) or self._executor
        return launch.run(
            step.call.function, params=params, inputs=inputs, name=step.name, project=self.run.project,
            parent=self.run.id, labels=given, store=self.run.store, executor=where,
            watch=False, **options,
        )  # fmt: skip

    def _skip(self, step: Step, why: str) -> None:
        step.end("skipped", self._reuse.note_skipped(self.run, step.name, why), why)

    def _judged(self) -> tuple[str, str | None]:
        failed = [s for s in self.steps if s.state in ("error", "aborted", "lost")]
        if not failed:
            return "completed", None
        told = "; ".join(f"{s.name}: {_last_line(s.why)}" for s in failed[:5])
        return "error", f"{len(failed)} of {len(self.steps)} steps failed: {told}"

    def _keep(self, made: Any) -> None:
        """Keep what the workflow function returned: a dict by its keys, anything else as `return`."""
        if made is None or isinstance(made, Step):
            return
        found = resolve(made if isinstance(made, dict) else {"return": made})
        self.run.log_results(found)

    def _stop(self, why: str) -> None:
        """Let no further step begin, abort those that run."""
        self._stopping = why
        for step in list(self.steps):
            if step.run_id and step.state == "running":
                from mlrun.view import get_run

                get_run(self._store, step.run_id).abort()
        for step in list(self.steps):
            step.until_ended()

    def _exit(self, state: str, error: str | None) -> None:
        handlers, self._at_end = self._at_end, []
        if not handlers:
            return
        self._stopping = ""
        token = _active.set(self)
        begun = len(self.steps)
        try:
            for function, arguments in handlers:
                try:
                    made = function(**arguments)
                    if isinstance(made, Step):
                        made.until_ended()
                except Exception as failure:  # noqa: BLE001  the others are called all the same
                    self.run.warn(
                        "exit", f"an exit handler failed: {type(failure).__name__}: {failure}"
                    )
            for step in self.steps[begun:]:
                step.until_ended()
        finally:
            _active.reset(token)

    @property
    def _store(self) -> Any:
        return self.run.store


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
