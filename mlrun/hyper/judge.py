"""Judge: what the iterations of a job come to, whether it is to stop, and what it leaves at its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.hyper.expression import Condition
from mlrun.hyper.leftovers import end_children
from mlrun.hyper.progress import Progress
from mlrun.hyper.promote import promote
from mlrun.hyper.selector import Selector
from mlrun.hyper.table import stored_outcomes
from mlrun.tracking.lifecycle import outcome_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from mlrun.execution.interrupt import Guard
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.tracking.run import Run

__all__ = ["Judge", "judged_names"]


class Judge:
    """Counts outcomes while a job is performed; use it in a `with` block.

    When the block ends, the parent has the best iteration's results and artifacts, the table and the picture. When it
    ends by an exception, iterations that nobody performs any more end as aborted before that.

    Args:
        run: the parent.
        options: how it is judged.
        keys: the hyperparameters, in the order given.
        total: number of iterations.
        guard: tells when the parent is to end.
        shown: whether progress is written on stderr.

    Attributes:
        names: results or metrics that decide.
        record: further facts of the job, for who takes it up again.
        outcomes: what was noted.
        stopped: why no further iteration is started; empty while more may be.
    """

    def __init__(
        self,
        run: Run,
        options: HyperParamOptions,
        keys: Sequence[str],
        total: int,
        guard: Guard,
        *,
        shown: bool,
    ) -> None:
        self._run, self._options, self._guard = run, options, guard
        self._keys, self._total = list(keys), total
        self._selector = Selector.parse(options.selector)
        stop = options.stop_condition
        self._condition = Condition.parse(stop) if stop else None
        self._progress = Progress(total, self._selector, shown=shown)
        self._failed = 0
        self.record: dict[str, Any] = {}
        self.names = judged_names(options)
        self.outcomes: list[dict[str, Any]] = []
        self.stopped = ""

    def facts(self) -> dict[str, Any]:
        """Return what the parent's provenance says of the job."""
        facts = {
            **self.record,
            **self._options.to_dict(), "keys": self._keys, "iterations": self._total,
            "judged": sorted(self.names),
        }  # fmt: skip
        return {**facts, "stopped": self.stopped} if self.stopped else facts

    def note(self, outcome: dict[str, Any]) -> None:
        """Count an outcome, and find out whether it stops the job."""
        self.outcomes.append(outcome)
        self._failed += outcome["state"] == "error"
        if self._condition is not None and self._condition.holds(outcome):
            said = f"stop_condition at iteration {outcome['iteration']}"
            self.stopped = self.stopped or said
        if self._failed > self._options.max_errors:
            self.stopped = self.stopped or f"{self._failed} iterations failed"
        self._progress.add(outcome)

    def take_stock(self) -> None:
        """Ask the store what iterations came to: of some of them nobody has told."""
        if self._run.store is not None:
            self._run.store.flush_records()
            self.outcomes = stored_outcomes(self._run.store, self._run.id, self.names)

    def verdict(self) -> tuple[str, str | None]:
        """Return the state and error of the parent; what was stopped by `stop_condition` is no failure."""
        failed = sum(o["state"] == "error" for o in self.outcomes)
        if not failed:
            return "completed", None
        return "error", (
            f"{failed} of {len(self.outcomes)} tasks failed, "
            f"see `mlrun.runs(where=\"parent = '{self._run.id}' and state = 'error'\")`"
        )

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None and self._run.store is not None:
                why = self._guard.why or outcome_of(error)[1] or type(error).__name__
                end_children(self._run.store, self._run.id, why.strip().rpartition("\n")[2])
                self.take_stock()
        finally:
            self._progress.close()
            promote(self._run, self.outcomes, self._selector, self.facts())


def judged_names(options: HyperParamOptions) -> frozenset[str]:
    """Return the names of results or metrics that a job is judged by."""
    stop, selector = options.stop_condition, Selector.parse(options.selector)
    names = Condition.parse(stop).names if stop else frozenset()
    return names | ({selector.key} if selector else frozenset())
