"""A step of a workflow: one function run that comes after others."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, RunError
from mlrun.workflows.outputs import Outputs, steps_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.view import RunView

__all__ = ["Call", "Step"]


@dataclass
class Call:
    """What a step runs: the function, and the arguments of `fn.run`.

    Attributes:
        cache: take the outputs of an earlier step of the project that ran the same function version with the same
            parameters and inputs, if there is one.
    """

    function: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    cache: bool = False


class Step:
    """One step, as `project.run_function(...)` returns it inside a workflow.

    Attributes:
        name: its name, made different from the others' by a number.
        call: what it runs.
        before: steps that it comes after.
        state: created, running, completed, error, aborted or skipped.
        run_id: its run, once it has one.
        why: why it was skipped or failed.
    """

    def __init__(self, name: str, call: Call) -> None:
        self.name = name
        self.call = call
        self.before = list(dict.fromkeys([*steps_in(call.params), *steps_in(call.inputs)]))
        self.state = "created"
        self.run_id = ""
        self.why = ""
        self._ended = threading.Event()
        self._view: RunView | None = None
        self._started = False

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
            ConfigError: it has begun already.
        """
        if self._started:
            raise ConfigError(
                f"step {self.name!r} has begun: give after= where it is made, its turn has come otherwise"
            )
        self.before += [s for s in steps if s not in self.before]
        return self

    def wait(self) -> RunView:
        """Wait until it has ended.

        Raises:
            RunError: it failed, or was skipped because another did; `.run` is its view.
        """
        self._ended.wait()
        if self._view is None or self.state in ("error", "aborted") or self.why:
            raise RunError(f"step {self.name!r} ended as {self.state}: {self.why}", self._view)
        return self._view

    @property
    def failed(self) -> bool:
        """Whether it has ended and its outputs cannot be had."""
        return self._ended.is_set() and (self.state in ("error", "aborted") or bool(self.why))

    def begin(self) -> None:
        """Note that it is being run; nothing can be put before it any more."""
        self._started = True

    def end(self, state: str, view: RunView | None, why: str = "") -> None:
        """Note how it ended."""
        self.state, self._view, self.why = state, view, why
        self._ended.set()

    def until_ended(self) -> None:
        """Wait until it has ended, however."""
        self._ended.wait()

    def __repr__(self) -> str:
        return f"Step({self.name!r}, {self.state})"
