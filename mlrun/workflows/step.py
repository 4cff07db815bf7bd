"""A step of a workflow: one function run that comes after others."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, RunError
from mlrun.workflows.outputs import Outputs, steps_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlrun.view import RunView

__all__ = ["Call", "Step"]

_PATIENCE = 0.2  # seconds


@dataclass
class Call:
    """What a step runs: the function, and the arguments of `fn.run`.

    Attributes:
        cache: take the outputs of an earlier step that ran the same function version with the same parameters and
            inputs, if there is one; None for what the workflow says.
    """

    function: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    cache: bool | None = None


class Step:
    """One step, as `fn.as_step(...)` and `project.run_function(...)` return it inside a workflow.

    It begins when those before it have ended, but not before the workflow goes on: adds another step, looks at an
    output, or returns. So `.after(...)` can be said of it where it is made.

    Attributes:
        name: its name, made different from the others' by a number.
        call: what it runs.
        before: steps that it comes after.
        run_id: its run, once it has ended.
        why: why it was skipped or failed; empty otherwise.
        cached: whether an earlier run was taken for it.
    """

    def __init__(
        self, name: str, call: Call, before: Iterable[Step], release: Callable[[], None]
    ) -> None:
        self.name = name
        self.call = call
        taken = [*steps_in(call.params), *steps_in(call.inputs), *steps_in(call.options)]
        self.before = list(dict.fromkeys([*taken, *before]))
        self.run_id = ""
        self.why = ""
        self.cached = False
        self._release = release
        self._released = False
        self._state = "created"
        self._ended = threading.Event()
        self._view: RunView | None = None

    @property
    def state(self) -> str:
        """created, running, completed, error, aborted, lost or skipped."""
        self._release()
        return self._state

    @property
    def outputs(self) -> Outputs:
        """Its outputs, by key: pass them to other steps, or look at them, which waits."""
        return Outputs(self)

    def output(self, key: str) -> Any:
        """Return the value of one output; waits for the step."""
        return self.outputs[key].value

    def after(self, *steps: Step) -> Step:
        """Let this step come after others though it takes nothing of theirs; returns itself.

        Raises:
            ConfigError: it may have begun already, since the workflow went on.
        """
        if self._released or self in steps:
            raise ConfigError(
                f"step {self.name!r} may have begun: say .after(...) where it is made, of steps made before it"
            )
        self.before += [s for s in steps if s not in self.before]
        return self

    def wait(self) -> RunView:
        """Wait until it has ended.

        Raises:
            RunError: it failed, or was skipped because another did; `.run` is its view.
        """
        self.until_ended()
        if self._view is None or self.failed:
            raise RunError(f"step {self.name!r} ended as {self._state}: {self.why}", self._view)
        return self._view

    @property
    def failed(self) -> bool:
        """Whether it has ended and its outputs cannot be had."""
        return self.ended and (self._state in ("error", "aborted", "lost") or bool(self.why))

    @property
    def ended(self) -> bool:
        """Whether it has ended, however."""
        return self._ended.is_set()

    def release(self) -> None:
        """Let it begin; nothing can be put before it any more. For the engine."""
        self._released = True

    def begin(self) -> None:
        """Note that it is being performed. For the engine."""
        self._state = "running"

    def end(self, state: str, view: RunView | None, why: str = "", *, cached: bool = False) -> None:
        """Note how it ended. For the engine."""
        self._state, self._view, self.why, self.cached = state, view, why, cached
        self.run_id = view.id if view is not None else ""
        self._ended.set()

    def until_ended(self) -> None:
        """Wait until it has ended, however."""
        self._release()
        while not self._ended.wait(_PATIENCE):  # in steps: a thread hears of an abort in between
            pass

    def __repr__(self) -> str:
        return f"Step({self.name!r}, {self._state})"
