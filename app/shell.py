"""What stands around every request: its id, who may call from where, how large it may be, and what is noted of it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlrun.ids import uuid7
from mlrun.wire import HEADER_REQUEST

from .logs import log, request_id
from .options import is_loopback
from .problems import plain_problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .gateway import Gateway

__all__ = ["Shell", "TooLarge"]

_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# routes with limits of their own: what they take is written to the disk as it comes
_STREAMED = ("/api/v1/ingest", "/api/v1/objects")


class TooLarge(Exception):
    """The body is larger than the gateway takes."""


class Shell:
    """ASGI middleware around the app.

    Args:
        app: the app.
        gateway: whose options and figures.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        given = headers.get(HEADER_REQUEST.lower(), "")
        current = given if _ID.fullmatch(given) else uuid7()
        token = request_id.set(current)
        told = _Told(send, current)
        begun = time.perf_counter()
        try:
            refused = self._refuse(scope, headers)
            if refused is not None:
                await refused(scope, receive, told)
            else:
                await self._serve(scope, receive, told)
        finally:
            self._note(scope, told, time.perf_counter() - begun)
            request_id.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, told: _Told) -> None:
        most = None if scope["path"].startswith(_STREAMED) else self._gateway.options.max_body
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if most is not None and taken > most:
                raise TooLarge
            return message

        try:
            await self._app(scope, limited, told)
        except TooLarge:
            if not told.started:
                await self._too_large()(scope, receive, told)

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> Any:
        options = self._gateway.options
        host = _name_of(headers.get("host", ""))
        allowed = {h.lower() for h in options.hosts}
        if is_loopback(options.host):
            if not (is_loopback(host) or host in allowed):
                return plain_problem(
                    403, f"this gateway is not called {host[:100]!r}", "AccessDenied"
                )
        elif allowed and not (is_loopback(host) or host in allowed | {options.host}):
            return plain_problem(403, f"this gateway is not called {host[:100]!r}", "AccessDenied")
        origin = headers.get("origin")
        if origin is not None and not _same_site(origin, headers, options.origins):
            told = "pages of other sites may not call this gateway"
            return plain_problem(403, told, "AccessDenied")
        length = headers.get("content-length", "0")
        if not scope["path"].startswith(_STREAMED) and (
            not length.isdecimal() or int(length) > options.max_body
        ):
            return self._too_large()
        return None

    def _too_large(self) -> Any:
        most = self._gateway.options.max_body
        return plain_problem(413, f"a request is at most {most:,} bytes", "QueryError")

    def _note(self, scope: Scope, told: _Told, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # the template: addresses hold names
        figures = self._gateway.figures
        method = scope["method"] if route != "none" else "any"
        status = str(told.status)
        figures.add("mlrun_http_requests_total", method=method, route=route, status=status)
        figures.time("mlrun_http_request_seconds", seconds, method=method, route=route)
        if route in ("/healthz", "/readyz", "/metrics"):
            return
        caller = scope.get("state", {}).get("caller")
        log.info(
            "request",
            extra={
                "fields": {
                    "method": scope["method"],
                    "route": route,
                    "status": told.status,
                    "ms": round(seconds * 1000, 1),
                    "bytes": told.size,
                    "caller": getattr(caller, "name", ""),
                }
            },
        )


class _Told:
    """Sends what the app answers, with the headers that every answer has."""

    def __init__(self, send: Send, current: str) -> None:
        self._send = send
        self._id = current
        self.started = False
        self.status = 0
        self.size = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            own = [(HEADER_REQUEST.lower().encode(), self._id.encode()), *_SAFE]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def _same_site(origin: str, headers: dict[str, str], known: tuple[str, ...]) -> bool:
    """Whether a page may call: it is the gateway's own, or one of those that were allowed."""
    try:
        place = urlsplit(origin).netloc
    except ValueError:
        return False
    return origin in known or bool(place and place == headers.get("host"))


def _name_of(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
