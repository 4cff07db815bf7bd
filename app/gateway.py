"""The gateway: one store, who may do what with it, and the threads that do it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from .answerpool import AnswerPool
from .auth import Auth
from .figures import Figures
from .lag import Lag
from .limits import Limits
from .live import Live
from .logs import log
from .parts import load_parts
from .pool import Pool
from .sqlpool import SqlPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.store import Store

    from .options import Options
    from .parts import Part

__all__ = ["Gateway"]

T = TypeVar("T")


class Gateway:
    """What all routes stand on.

    Args:
        store: what is served; not itself a gateway.
        options: see there.

    Attributes:
        store, options: as given.
        auth: tells callers.
        figures: counters for `/metrics`.
        limits: how much each caller may ask and send.
        live: tells listeners of a run's news.
        answers: works out what callers ask.
        sql: runs queries of callers in processes of their own.
        parts: ingest, objects and other rooms with a life of their own.
        ports: port by name, once they are open: `http`, `flight`.
        draining: whether it is about to stop.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self.store = store
        self.options = options
        self.started_at = time.time()
        self.ports: dict[str, int] = {}
        self.draining = False
        self.figures = Figures()
        self.limits = Limits(self.figures)
        self.auth = Auth(self)
        self.live = Live(self)
        self._pool = Pool("answers", options.threads, options.waiting)
        self.answers = AnswerPool(store, options, self._pool)
        self.sql = SqlPool(store, options)
        self._queries = Pool("queries", options.sql_children, options.waiting)
        self.figures.gauge("mlrun_gateway_busy", lambda: float(self._pool.busy + self.answers.busy))
        self.figures.gauge("mlrun_gateway_listeners", lambda: float(self.live.listeners))
        self._lag = Lag()
        self.figures.gauge("mlrun_gateway_loop_late_seconds", self._lag.worst)
        self.parts: list[Part] = load_parts(self)

    async def work(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        """Return what a blocking call returns, worked out in a thread.

        Raises:
            StoreBusy: too much waits already; the caller is told when to come again.
        """
        return await self._pool.run(call, *args, **options)

    async def query(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        """Return what a call of `sql` returns, as `work` does; queries that take long hold up one another only."""
        return await self._queries.run(call, *args, **options)

    async def start(self) -> None:
        """Open the store and start the parts."""
        await self.work(self._open)
        for part in self.parts:
            await part.start()
        self._lag.start()
        self._warming = asyncio.create_task(asyncio.to_thread(self.answers.warm))

    def _open(self) -> None:
        self.store.prepare()
        _ = self.store.records  # makes or migrates the tables now, not in somebody's question
        _ = self.store.series

    async def stop(self) -> None:
        """Take no more, finish what is in hand, close everything."""
        self.draining = True
        self._lag.stop()
        await asyncio.gather(self._warming, return_exceptions=True)
        self.live.close()
        for part in reversed(self.parts):
            try:
                await part.drain()
            except Exception:  # noqa: BLE001 - the others are drained all the same
                log.exception("a part could not be drained")
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.sql.close()
        self.answers.close()
        self._queries.close()
        self._pool.close()
        for part in reversed(self.parts):
            part.close()
        self.store.close()

    def not_ready(self) -> str:
        """Return why requests should go elsewhere; empty if they should not. Asks the store: call it in a thread."""
        if self.draining:
            return "it is stopping"
        for part in self.parts:
            if reason := part.ready():
                return reason
        with self.store.records.read():
            return ""
