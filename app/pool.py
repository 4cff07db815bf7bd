"""Threads for what would block the event loop, with an end to how much may wait for them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from mlrun.errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pool"]

T = TypeVar("T")


class Pool:
    """A bounded pool: what exceeds it is refused at once, so that nobody waits for an answer that comes too late.

    Args:
        name: of its threads, and in the refusal.
        threads: calls at once.
        waiting: calls that may wait for a thread.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"mlrun-{name}")
        self._most = threads + waiting
        self._busy = 0
        self._lock = threading.Lock()

    @property
    def busy(self) -> int:
        """Calls that run or wait."""
        return self._busy

    async def run(self, call: Callable[..., T], *args: object, **options: object) -> T:
        """Return what the call returns, worked out in a thread.

        Raises:
            StoreBusy: too many wait already.
        """
        with self._lock:
            if self._busy >= self._most:
                raise StoreBusy(f"the gateway has {self._busy} requests in hand: try again")
            self._busy += 1
        context = contextvars.copy_context()
        try:
            future: Future[T] = self._threads.submit(lambda: context.run(call, *args, **options))
        except RuntimeError as error:  # it was shut down
            self._release(None)
            raise StoreBusy("the gateway is stopping: try again") from error
        future.add_done_callback(self._release)  # also when whoever waited for it has gone
        return await asyncio.wrap_future(future)

    def _release(self, _: object) -> None:
        with self._lock:
            self._busy -= 1

    def close(self) -> None:
        """Take no more, and wait for what runs."""
        self._threads.shutdown(wait=True, cancel_futures=True)
