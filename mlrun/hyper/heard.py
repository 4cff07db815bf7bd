"""The last values of a trial's metrics, heard as they are logged: to judge by them costs no look into the store."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlrun.execution.attempts import attempt_label
from mlrun.execution.hooks import add_hook, remove_hook
from mlrun.tracking.scalars import as_float, flatten

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from mlrun.tracking.run import Run

__all__ = ["Heard", "hearing", "numbers_in"]


class Heard:
    """A hook that listens to the trials of one job.

    Args:
        parent: id of the job's run; other runs of the process are not listened to.
        names: the metrics that count.
    """

    def __init__(self, parent: str | None, names: Collection[str]) -> None:
        self._parent = parent
        self._names = frozenset(names)
        self._values: dict[str, dict[str, tuple[int, float]]] = {}

    def begin(self, run: Run) -> None:
        """Listen to a trial."""
        owner = self._trial_of(run)
        if owner is None:
            return
        found: dict[str, tuple[int, float]] = {}
        self._values[owner] = found

        def heard(data: Mapping[Any, Any], step: int | None) -> None:
            at = run.step - 1 if step is None else step
            for key, value in numbers_in(data, self._names).items():
                if (
                    key not in found or at >= found[key][0]
                ):  # the highest step, of equal ones the latest
                    found[key] = at, value

        run.listen(heard)

    def _trial_of(self, run: Run) -> str | None:
        """Return the id of the trial that a run is, or is an attempt of."""
        task = run.task
        if task is None or self._parent is None:
            return None
        if task.parent == self._parent:
            return run.id
        return task.parent if attempt_label in task.labels else None

    def end(self, run: Run, error: BaseException | None) -> None:
        """Nothing: the values stay until they are taken."""

    def take(self, run_id: str) -> dict[str, float]:
        """Return the last values of a trial, and forget them."""
        return {key: value for key, (_, value) in self._values.pop(run_id, {}).items()}


def numbers_in(data: Mapping[Any, Any], names: Collection[str]) -> dict[str, float]:
    """Return the numbers of one `log()` call that have one of these names."""
    found: dict[str, float] = {}
    for key, value in flatten(data):
        if key in names and isinstance(number := as_float(value), float):
            found[key] = number
    return found


@contextmanager
def hearing(parent: str | None, names: Collection[str]) -> Iterator[Heard]:
    """Listen to the trials of a job that are performed in the block."""
    hook = Heard(parent, names)
    if not names:
        yield hook
        return
    add_hook(hook)
    try:
        yield hook
    finally:
        remove_hook(hook)
