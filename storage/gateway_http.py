"""HTTP to a gateway: connections that stay open, TLS, proxies, the key, and when a request is sent again.

Trackers use it, so it stands on `http.client` alone: 20 ms to load, and an answer from this host takes well under a
millisecond more than the gateway needs.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlrun.config import settings
from mlrun.errors import ConfigError, MlrunError, StoreUnreachable
from mlrun.statefolder import keys_file, read_private, token_file
from mlrun.wire import HEADER_PROTOCOL, PROTOCOL, error_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Http", "Reply", "origin_of"]

_IDLE = 8  # connections that are kept open
_IDLE_SECONDS = 30.0  # less than the gateway keeps them
_CONNECT_SECONDS = 5.0
_TRIES = 4
_PAUSE = 0.1  # seconds before the second try; doubles
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BROKEN = (http.client.HTTPException, OSError)


@dataclass(frozen=True)
class Reply:
    """What a gateway answered.

    Attributes:
        status: below 400; errors are raised.
        headers: names in lower case.
        body: the bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def origin_of(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of a gateway's URL.

    Raises:
        ConfigError: it is none, or holds a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ConfigError(f"not the URL of a gateway: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the URL of a gateway is http(s)://host:port")
    if parts.username or parts.password:
        raise ConfigError("the URL of a gateway holds no password: give its key by MLRUN_API_KEY")
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


class Http:
    """Requests to one gateway, from many threads.

    Args:
        url: `http(s)://host:port`, with a path if a proxy put it under one.
        key: the key; default the setting `api_key`, what `mlrun login` kept, or the token of a gateway of this user.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self._scheme, self._host, self._port, self._base = origin_of(url)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{self._scheme}://{shown}:{self._port}{self._base}"
        self._given = key
        self._key: str | None = None
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        """Show where, never the key."""
        return f"Http({self.url!r})"

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        again: bool = False,
        timeout: float = 120.0,
    ) -> Reply:
        """Send a request and return the answer.

        Args:
            method: in capitals.
            path: from the root, query included, quoted.
            body: the bytes.
            headers: besides the key.
            again: whether it may be sent again when it is not known to have been answered.
            timeout: seconds without a byte that are waited.

        Raises:
            MlrunError: what the gateway's problem document names.
            StoreUnreachable: nothing answered.
        """
        pause = _PAUSE
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1 or not again
            try:
                reply = self._once(method, path, body, headers or {}, again, timeout)
            except _BROKEN as error:
                if last or isinstance(error, ssl.SSLCertVerificationError):
                    raise StoreUnreachable(f"no answer from {self.url}: {_why(error)}") from error
            else:
                if reply.status < 400:
                    return reply
                if reply.status == 401 and attempt == 0 and self._renewed():
                    continue  # a gateway that was started anew has another token
                if reply.status not in (429, 502, 503, 504) or last:
                    raise _raised(reply)
                pause = max(pause, min(_seconds(reply.headers.get("retry-after")), 5.0))
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause *= 2
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close what is open; a later request opens anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            for _, connection in idle:
                connection.close()

    # -- how -------------------------------------------------------------------------------------

    def _once(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        again: bool,
        timeout: float,
    ) -> Reply:
        known = {HEADER_PROTOCOL: str(PROTOCOL), "Accept-Encoding": "identity", **headers}
        if key := self.key():
            known["Authorization"] = f"Bearer {key}"
        connection = self._kept()
        if connection is not None:
            try:
                return self._exchange(connection, method, path, body, known, timeout)
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.close()  # it was closed while it lay idle; or was it?
                if not again:
                    raise
            except BaseException:
                connection.close()
                raise
        connection = self._opened()
        try:
            return self._exchange(connection, method, path, body, known, timeout)
        except BaseException:
            connection.close()
            raise

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: float,
    ) -> Reply:
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request(method, self._base + path, body or None, dict(headers))
        found = connection.getresponse()
        content = found.read()
        told = {name.lower(): value for name, value in found.getheaders()}
        if found.will_close:
            connection.close()
        else:
            with self._lock:
                if len(self._idle) < _IDLE and self._pid == os.getpid():
                    self._idle.append((time.monotonic(), connection))
                    return Reply(found.status, told, content)
            connection.close()
        return Reply(found.status, told, content)

    def _kept(self) -> http.client.HTTPConnection | None:
        with self._lock:
            if self._pid != os.getpid():  # a child never writes into its parent's connections
                self._idle, self._pid = [], os.getpid()
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < _IDLE_SECONDS:
                    return connection
                connection.close()
        return None

    def _opened(self) -> http.client.HTTPConnection:
        proxy = self._proxy()
        host, port = proxy or (self._host, self._port)
        connection: http.client.HTTPConnection
        if self._scheme == "https":
            self._tls = self._tls or _context()
            connection = http.client.HTTPSConnection(
                host, port, timeout=_CONNECT_SECONDS, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
        if proxy:
            connection.set_tunnel(self._host, self._port)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _proxy(self) -> tuple[str, int] | None:
        """Return the proxy that the environment names for this gateway; it is asked for a tunnel."""
        if not any(name.lower().endswith("_proxy") for name in os.environ):
            return None
        from urllib.request import getproxies, proxy_bypass

        found = getproxies().get(self._scheme) or getproxies().get("all")
        if not found or proxy_bypass(self._host) or self._host in _LOOPBACK:
            return None
        parts = urlsplit(found if "://" in found else f"http://{found}")
        return (parts.hostname, parts.port or 3128) if parts.hostname else None

    def key(self) -> str:
        """Return the key that requests carry; empty if none is known."""
        if self._key is None:
            self._key = self._given or settings().api_key or self._stored()
        return self._key

    def _stored(self) -> str:
        try:
            known = json.loads(read_private(keys_file()) or "{}")
        except ValueError:
            known = {}
        if found := known.get(self.url):
            return str(found)
        return (
            (read_private(token_file(self._port)) or "").strip() if self._host in _LOOPBACK else ""
        )

    def _renewed(self) -> bool:
        """Whether another key is known than the one that was refused."""
        before, self._key = self._key, None
        return self.key() != before


def _context() -> ssl.SSLContext:
    given = settings().ca_file
    try:
        return ssl.create_default_context(cafile=given or None)
    except OSError as error:
        raise ConfigError(f"MLRUN_CA_FILE {given!r} cannot be read: {error.strerror}") from error


def _raised(reply: Reply) -> MlrunError:
    try:
        problem: Any = json.loads(reply.body)
    except ValueError:
        problem = {"detail": f"HTTP status {reply.status}; is this a gateway of mlrun?"}
    return error_of(problem if isinstance(problem, dict) else {}, reply.status)


def _seconds(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
