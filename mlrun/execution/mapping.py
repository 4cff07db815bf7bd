"""How `Executor.map` goes: items are drawn while there is room, answers come as they end, the rest is cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlrun.execution.law import Job

__all__ = ["end_of_job", "mapped"]


def mapped(
    items: Iterable[Any],
    room: int,
    send: Callable[[Any], Any],
    ended: Callable[[list[Any]], Iterable[tuple[Any, Any]]],
    cancel: Callable[[list[Any]], object],
) -> Iterator[tuple[int, Any]]:
    """Yield (index, value or `JobError`) of every item, as they end.

    Args:
        items: drawn only when there is room.
        room: how many may be in flight.
        send: gives the handle of an item's call, or the `JobError` that kept it from being sent.
        ended: waits a moment for some of these handles to end, and gives those that did with their answers; an
            interrupt of this thread is raised between two such moments.
        cancel: ends what is in flight when the iterator is left.
    """
    flying: dict[Any, int] = {}
    source, more = enumerate(items), True
    try:
        while True:
            while more and len(flying) < room:
                index, item = next(source, (-1, None))
                if index < 0:
                    more = False
                    break
                sent = send(item)
                if isinstance(sent, JobError):
                    yield index, sent
                else:
                    flying[sent] = index
            if not flying:
                return
            for handle, answer in ended(list(flying)):
                yield flying.pop(handle), answer
    finally:
        cancel(list(flying))


def end_of_job(job: Job) -> Any:
    """Return the value of a job that has ended, or its error."""
    try:
        return job.result()
    except JobError as error:
        return error
