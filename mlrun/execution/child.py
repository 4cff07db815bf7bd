"""Child runs that a handler opens by itself: iterations of its own strategy."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.execution.hooks import add_hook
from mlrun.tracking import current, lifecycle
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.tracking.run import Run

__all__ = ["child_run", "mark_as_best", "sum_up"]


@dataclass
class _Opened:
    """What this process knows of the iterations that it opened for one run."""

    count: int = 0
    best: int | None = None
    outcomes: list[dict[str, Any]] = field(default_factory=list)


class _SumUp:
    """The hook that makes the table when a handler has ended."""

    def begin(self, run: Run) -> None:
        """Nothing: no iteration is open yet."""

    def end(self, run: Run, error: BaseException | None) -> None:
        """Make the table, if the handler opened iterations."""
        if run.id in _opened:
            sum_up(run)
            for outcome in _opened.pop(run.id).outcomes:
                _parents.pop(outcome["run_id"], None)


_lock = threading.Lock()
_opened: dict[str, _Opened] = {}
_parents: dict[str, tuple[str, int]] = {}  # child's id -> parent's id, iteration
_hook = _SumUp()


@contextmanager
def child_run(parent: Run, params: dict[str, Any]) -> Iterator[Run]:
    """Open the next iteration of `parent` and make it the current run of the block.

    It ends as the block does; an exception goes on.
    """
    add_hook(_hook)
    with _lock:
        known = _opened.setdefault(parent.id, _Opened())
        known.count += 1
        number = known.count
    about = About(
        name=parent.name,
        config=params or None,
        parent=parent.id,
        kind="iteration",
        iteration=number,
    )
    child = open_run(parent.store, parent.settings, about, taken={})
    _parents[child.id] = parent.id, number
    try:
        with current.bind(child):
            yield child
    except BaseException as error:
        _end(known, child, number, *lifecycle.outcome_of(error))
        raise
    _end(known, child, number, "completed", None)


def _end(known: _Opened, child: Run, number: int, state: str, error: str | None) -> None:
    child.end(state, error, settle=False)
    known.outcomes.append(
        {
            "run_id": child.id, "iteration": number, "state": child.state, "error": child.error,
            "params": child.config.flat(), "results": dict(child.results),
        }
    )  # fmt: skip


def mark_as_best(child: Run) -> None:
    """Say that this iteration is its parent's best, whatever a selector says."""
    found = _parents.get(child.id)
    if found is None:
        child.warn("best", "mark_as_best() is for iterations that get_child_context() opened")
        return
    with _lock:
        _opened.setdefault(found[0], _Opened()).best = found[1]


def sum_up(parent: Run) -> int | None:
    """Make the table of a run's iterations, and take over the best one's results and artifacts; returns the best."""
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.hyper.outcomes import with_metrics
    from mlrun.hyper.promote import promote
    from mlrun.hyper.selector import Selector

    with _lock:
        known = _opened.get(parent.id) or _Opened()
        outcomes, best = sorted(known.outcomes, key=lambda o: o["iteration"]), known.best
    options = HyperParamOptions.of(parent.task.hyper if parent.task is not None else None)
    selector = Selector.parse(options.selector)
    names = {selector.key} if selector is not None else set()
    judged = with_metrics(parent.store, outcomes, names)
    return promote(parent, judged, selector, options.to_dict(), best=best)


def _renew_after_fork() -> None:
    global _lock  # the parent's lock may have been held at the fork
    _lock = threading.Lock()
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
