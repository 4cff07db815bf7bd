"""The ASGI app, and the server that runs it."""

from __future__ import annotations

import secrets
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import mlrun
from mlrun.errors import ConfigError
from mlrun.statefolder import token_file, write_private

from .gateway import Gateway
from .lease import need_no_other_host
from .logs import log, set_up
from .options import Options, is_loopback
from .problems import PROBLEMS, Problem, install
from .readying import build_routes, keep_what_is_there
from .routes_access import router as access
from .routes_ask import router as ask
from .routes_change import router as change
from .routes_health import router as health
from .routes_policies import router as policies
from .routes_runs import router as runs
from .routes_secrets import router as project_secrets
from .shell import Shell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mlrun.store import Store

__all__ = ["create_app", "listen", "serve", "uvicorn_server"]

_DESCRIPTION = """Runs, metrics, artifacts and logs of machine learning, as Arrow or JSON.

Every answer is Arrow IPC (`Accept: application/vnd.apache.arrow.stream`) or JSON; every error is a problem document.
"""


def create_app(gateway: Gateway) -> FastAPI:
    """Return the app of a gateway; the caller starts and stops the gateway through its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        await build_routes(app)
        try:
            yield
        finally:
            await gateway.stop()

    app = FastAPI(
        title="mlrun gateway",
        version=mlrun.__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,  # a route that asks for a key serves it
        docs_url=None,
        redoc_url=None,
    )
    app.state.gateway = gateway
    install(app)
    for router in (health, ask, runs, change, access, policies, project_secrets):
        app.include_router(router)
    for part in gateway.parts:
        if part.router is not None:
            app.include_router(part.router, responses=PROBLEMS)
    _document(app)
    if gateway.options.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(gateway.options.origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=["ETag", "Mlrun-Next-Page", "X-Request-Id"],
        )
    app.add_middleware(Shell, gateway=gateway)
    return app


def _document(app: FastAPI) -> None:
    """Complete the OpenAPI document: how callers sign in, and what errors look like."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            parts = found.setdefault("components", {})
            parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
            parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"key": []}]
            for path in ("/healthz", "/readyz"):
                found["paths"][path]["get"]["security"] = []
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


class _Server(uvicorn.Server):
    """Tells when it listens, and lets the gateway know that it is about to stop."""

    def __init__(
        self, config: uvicorn.Config, gateway: Gateway, listens: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listens()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests that have begun finish; nobody is asked to say farewell.

        An idle connection with TLS would be waited for until its client answers, half a minute at most.
        """
        if self.config.is_ssl:
            for connection in list(self.server_state.connections):
                cycle = getattr(connection, "cycle", connection)
                if cycle is None or getattr(cycle, "response_complete", False):
                    connection.transport.abort()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Refuse new work, end streams, and let requests that have begun finish."""
        self._gateway.draining = True
        self._gateway.live.close()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True  # and no more: a stop that was asked for ends with exit code 0


def serve(
    store: Store,
    options: Options,
    *,
    log_level: str = "info",
    listening: Callable[[dict[str, Any]], None] = lambda told: None,
) -> None:
    """Serve a store until a signal ends it.

    Args:
        store: what is served.
        options: see there.
        log_level: of the log on stderr.
        listening: told `url`, `store`, `access` and the ports, once it listens.

    Raises:
        ConfigError: the address is another host's to reach, and no key has been made; TLS has half of its files; or a
            gateway on another host serves the store, and its series store cannot be served by two.
    """
    if bool(options.tls_cert) != bool(options.tls_key):
        raise ConfigError("TLS needs a certificate and its key: --tls-cert and --tls-key")
    set_up(log_level)
    need_no_other_host(store)
    gateway = Gateway(store, options)
    bound = listen(options)
    port = gateway.ports["http"] = bound.getsockname()[1]
    token = _first_token(gateway, port)

    def told() -> None:
        keep_what_is_there()
        listening(_say(gateway, options, port, bool(token)))

    try:
        uvicorn_server(gateway, told).run([bound])
    finally:
        bound.close()
        if token:
            token_file(port).unlink(missing_ok=True)


def uvicorn_server(gateway: Gateway, listens: Callable[[], None]) -> uvicorn.Server:
    """Return the server of a gateway; `listens` is called once it does."""
    options = gateway.options
    config = uvicorn.Config(
        create_app(gateway),
        log_config=None,
        access_log=False,
        lifespan="on",
        ssl_certfile=options.tls_cert or None,
        ssl_keyfile=options.tls_key or None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=int(options.drain_seconds),
        h11_max_incomplete_event_size=64 << 10,
    )
    return _Server(config, gateway, listens)


def listen(options: Options) -> socket.socket:
    """Return the socket at the address that the options name.

    Raises:
        ConfigError: it cannot be had.
    """
    # with its protocol named: asyncio turns Nagle off for TCP only, and waits 40 ms for nothing else
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((options.host, options.port))
    except OSError as error:
        found.close()
        raise ConfigError(
            f"cannot listen at {options.host}:{options.port}: {error.strerror or error}"
        ) from error
    found.set_inheritable(False)
    return found


def _first_token(gateway: Gateway, port: int) -> str:
    """Mint the token of a gateway that has no key yet; beyond this host there must be a key."""
    if gateway.auth.has_keys():
        return ""
    if not is_loopback(gateway.options.host):
        raise ConfigError(
            f"no key has been made for this store, and {gateway.options.host} can be reached from other hosts: "
            "make one with `mlrun keys create --role admin NAME`"
        )
    token = gateway.auth.local_token = secrets.token_urlsafe(32)
    write_private(token_file(port), token)
    return token


def _say(gateway: Gateway, options: Options, port: int, open_here: bool) -> dict[str, Any]:
    scheme = "https" if options.tls_cert else "http"
    shown = f"[{options.host}]" if ":" in options.host else options.host
    url = f"{scheme}://{shown}:{port}"
    who = "programs of this user are let in" if open_here else "callers need a key"
    told = {"url": url, "store": gateway.store.url, "access": who, **gateway.ports}
    log.info("serving", extra={"fields": told})
    return told
