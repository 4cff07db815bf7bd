"""Child runs that a handler opens by itself: iterations of its own strategy."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlrun.tracking import current, lifecycle
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.tracking.run import Run

__all__ = ["child_run", "count_of"]

_lock = threading.Lock()
_counts: dict[str, int] = {}


@contextmanager
def child_run(parent: Run, params: dict[str, Any]) -> Iterator[Run]:
    """Open the next iteration of `parent` and make it the current run of the block.

    It ends as the block does; an exception goes on.
    """
    number = count_of(parent.id, 1)
    about = About(
        name=parent.name,
        config=params or None,
        parent=parent.id,
        kind="iteration",
        iteration=number,
    )
    child = open_run(parent.store, parent.settings, about, taken={})
    try:
        with current.bind(child):
            yield child
    except BaseException as error:
        child.end(*lifecycle.outcome_of(error))
        raise
    child.end("completed")


def count_of(run_id: str, more: int = 0) -> int:
    """Return how many iterations this process has opened for a run, `more` of them now."""
    with _lock:
        _counts[run_id] = _counts.get(run_id, 0) + more
        return _counts[run_id]
