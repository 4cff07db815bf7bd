"""Performing one step: look whether the same was done before, else run the function; every step leaves a child run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import RunError
from mlrun.redact import redact_text
from mlrun.workflows.cachekey import cache_key
from mlrun.workflows.lineage import CACHE_KEY, STEP_LABEL
from mlrun.workflows.outputs import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.tracking.run import Run
    from mlrun.view import RunView
    from mlrun.workflows.reuse import Reuse
    from mlrun.workflows.step import Step

__all__ = ["Performer"]


class Performer:
    """Performs steps; used by several threads at once.

    Args:
        run: the workflow's run.
        executor: name or instance of the executor that steps run on.
        reuse: what of earlier runs may be taken instead of running a step.
        cache: whether steps look for earlier runs of theirs unless they say otherwise.
    """

    def __init__(self, run: Run, executor: Any, reuse: Reuse, *, cache: bool = False) -> None:
        self._run = run
        self._executor = executor
        self._reuse = reuse
        self._cache = cache

    def perform(self, step: Step) -> None:
        """Perform a step whose predecessors have all ended well.

        Raises:
            RunError: it ended badly. MlrunError: it could not be run.
        """
        step.begin()
        call = step.call
        params, inputs = resolve(dict(call.params)), resolve(dict(call.inputs))
        options = resolve(dict(call.options))
        key = cache_key(call.function, params, inputs, options, self._run)
        wanted = self._cache if call.cache is None else call.cache
        if key is not None and (found := self._reuse.find(step.name, key, cached=wanted)):
            step.end("skipped", self._reuse.take(self._run, step.name, found, key), cached=True)
            return
        labels = {STEP_LABEL: step.name, **({CACHE_KEY: key} if key else {})}
        view = self._launched(step, params, inputs, options, labels)
        step.end(view.state, view)

    def _launched(
        self,
        step: Step,
        params: Any,
        inputs: Any,
        options: dict[str, Any],
        labels: Mapping[str, str],
    ) -> RunView:
        from mlrun.execution import launch
        from mlrun.execution.places import place

        given = {**(options.pop("labels", None) or {}), **labels}
        local = bool(options.pop("local", False))
        where = options.pop("executor", None) or (None if local else self._executor)
        if isinstance(where, str):  # an instance: "local" by name would perform it in this thread
            where = place(where)
        return launch.run(
            self._function(step), params=params, inputs=inputs, name=step.name,
            project=self._run.project, parent=self._run.id, labels=given, store=self._run.store,
            executor=where, local=local, watch=True, follow=False, **options,
        )  # fmt: skip

    def _function(self, step: Step) -> Any:
        """Return the function, bound to the workflow's store: its version is stored beside its runs."""
        from mlrun.functions.function import Function

        found = step.call.function
        if isinstance(found, Function) and found.store is not self._run.store:
            return Function(found.spec, self._run.store)
        return found

    def skip(self, step: Step, why: str) -> None:
        """Record that a step is not run, and why."""
        view = self._reuse.note(self._run, step.name, "skipped", why, {STEP_LABEL: step.name})
        step.end("skipped", view, why)

    def fail(self, step: Step, error: BaseException) -> None:
        """Record that a step failed; one that came to no run of its own gets one that says why."""
        view: Any = error.run if isinstance(error, RunError) else None
        why = (view.error if view is not None else None) or redact_text(f"{error}" or repr(error))
        state = view.state if view is not None else "error"
        try:
            if view is None:
                labels = {STEP_LABEL: step.name}
                view = self._reuse.note(self._run, step.name, state, why, labels)
        finally:
            step.end(state, view, why)
