"""How late the event loop is: whatever blocks it shows here."""

from __future__ import annotations

import asyncio
import time
from collections import deque

__all__ = ["Lag"]

_EVERY = 0.05  # seconds between two looks
_MINUTE = 60.0


class Lag:
    """The worst lateness of the last minute, from twenty looks a second."""

    def __init__(self) -> None:
        self._worst: deque[tuple[float, float]] = deque()  # (when, late), lateness falling
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; in the loop."""
        self._task = asyncio.create_task(self._look())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    def worst(self) -> float:
        """Seconds by which the loop was late at most, in the last minute."""
        while self._worst and self._worst[0][0] < time.monotonic() - _MINUTE:
            self._worst.popleft()
        return self._worst[0][1] if self._worst else 0.0

    async def _look(self) -> None:
        while True:
            due = time.monotonic() + _EVERY
            await asyncio.sleep(_EVERY)
            now = time.monotonic()
            late = max(0.0, now - due)
            while self._worst and self._worst[-1][1] <= late:
                self._worst.pop()
            self._worst.append((now, late))
            self.worst()
