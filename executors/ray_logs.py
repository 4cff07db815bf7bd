"""What a call on Ray printed: two files of its worker's node, read from here or, on another host, by a small task."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from .ray_worker import read_slice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .ray_worker import Place

__all__ = ["follow"]

_LOOK = 0.1  # seconds between two looks
_OWN = (b":job_id:", b":task_name:", b":actor_name:")  # Ray's own lines in these files


def follow(
    place: Callable[[], Place | None],
    ends: Callable[[], tuple[int, ...] | None],
    ended: Callable[[float], bool],
    *,
    wait: bool,
) -> Iterator[str]:
    """Yield the lines of a call, those of stdout and of stderr as they are found.

    Args:
        place: returns where it runs; None before it has begun.
        ends: returns where its output ends; None while it runs, and if it died: then all that is there is its.
        ended: waits so many seconds and tells whether the call is over.
        wait: go on until it is.
    """
    reader: _Reader | None = None
    while True:
        over = ended(0)
        if reader is None and (found := place()) is not None:
            reader = _Reader(found)
        if reader is not None:
            yield from reader.lines(ends() if over else None)
        if over or not wait:
            if reader is not None:
                yield from reader.rest()
            return
        ended(_LOOK)


class _Reader:
    """Reads on in the files of one call."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._at = list(place.starts)
        self._halves = [b""] * len(place.files)

    def lines(self, ends: tuple[int, ...] | None) -> Iterator[str]:
        """Yield the lines that came since, up to `ends`."""
        for number, path in enumerate(self._place.files):
            end = None if ends is None else ends[number]
            found = self._read(path, self._at[number], end)
            self._at[number] += len(found)
            *whole, self._halves[number] = (self._halves[number] + found).split(b"\n")
            yield from (_text(line) for line in whole if not line.startswith(_OWN))

    def rest(self) -> Iterator[str]:
        """Yield what is left without an end of line."""
        yield from (_text(half) for half in self._halves if half and not half.startswith(_OWN))

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        if os.path.exists(
            path
        ):  # its name holds the session and the worker: no other host's is the same
            return read_slice(path, start, end)
        return _read_remotely(self._place.node, path, start, end)


def _read_remotely(node: str, path: str, start: int, end: int | None) -> bytes:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there: Any = NodeAffinitySchedulingStrategy(node, soft=False)
    task: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(read_slice)
    try:
        return bytes(ray.get(task.remote(path, start, end), timeout=30))
    except Exception:  # noqa: BLE001  the node is gone, and what it had with it
        time.sleep(_LOOK)
        return b""


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")
