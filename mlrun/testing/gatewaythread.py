"""A gateway in a thread of the test's own process: real HTTP on loopback, ready in a moment."""

from __future__ import annotations

import asyncio
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from mlrun.store import Store

__all__ = ["GatewayThread"]


class GatewayThread:
    """Serves a store until it is left; a context manager.

    Args:
        store: what is served.
        token: what lets a caller in as an admin, beside keys.
        options: of `mlrun.app.options.Options`.

    Attributes:
        url: of the gateway.
        gateway: the `Gateway` itself.
    """

    def __init__(self, store: Store, token: str = "", **options: Any) -> None:
        app = {n: import_module(f"mlrun.app.{n}") for n in ("gateway", "options", "server")}
        self.gateway: Any = app["gateway"].Gateway(
            store, app["options"].Options(**{"port": 0, "flight_port": None, **options})
        )
        self.gateway.auth.local_token = token
        self._socket = app["server"].listen(self.gateway.options)
        port = self._socket.getsockname()[1]
        self.gateway.ports["http"] = port
        self.url = f"http://127.0.0.1:{port}"
        self._listening = threading.Event()
        self._server: Any = app["server"].uvicorn_server(self.gateway, self._listening.set)
        self._server.main_loop, self._server.shutdown = self._until_left, self._stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._listening.set()

    async def _until_left(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.on_tick(0)
        await self._left.wait()

    async def _stop(self, sockets: object = None) -> None:
        """Do as uvicorn does, which looks ten times a second whether a connection has ended: a test has no time."""
        state = self._server.server_state
        for server in self._server.servers:
            server.close()
        for connection in list(state.connections):
            connection.shutdown()
        until = time.monotonic() + 10
        while (state.connections or state.tasks) and time.monotonic() < until:
            await asyncio.sleep(0.002)
        await self._server.lifespan.shutdown()

    def __enter__(self) -> GatewayThread:
        """Start it, and return when it listens."""
        self._thread.start()
        self._listening.wait(30)
        if not self._server.started:
            raise RuntimeError("the gateway did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._left.set)
        self._thread.join(30)
        self._socket.close()
