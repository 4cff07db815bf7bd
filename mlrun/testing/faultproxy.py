"""A proxy of TCP that fails: cuts, delays, loses answers, cuts them in half, and sends requests twice."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FaultProxy"]

_BLOCK = 64 << 10


class FaultProxy:
    """Stands before an HTTP server on this host; a context manager.

    Every exchange of a kept connection takes its chances: with the chance `cut` the request is cut in the middle,
    with `half` the answer is, with `deaf` the server answers and nobody hears it, with `twice` the request arrives
    twice, and every answer waits up to `delay` seconds. With `refuse` nobody listens.

    Args:
        url: of the server.
        seed: of the chances.

    Attributes:
        url: of the proxy.
        faults: how often each happened.
    """

    def __init__(self, url: str, seed: int = 0) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._options: dict[str, float] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._closing = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.faults: Counter[str] = Counter()

    def __enter__(self) -> FaultProxy:
        """Begin to listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self._closing = True
        self._listener.close()
        self._drop()

    def set(self, **options: float) -> None:
        """Set the chances anew; connections that are open are closed if `refuse` is set."""
        self._options = options
        if options.get("refuse"):
            self._drop()

    def _drop(self) -> None:
        for found in list(self._open):
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._options.get("refuse"):
                self.faults["refuse"] += 1
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _happens(self, fault: str) -> bool:
        with self._lock:
            found = self._chance.random() < self._options.get(fault, 0.0)
        if found:
            self.faults[fault] += 1
        return found

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            with client, socket.create_connection(self._server) as server:
                self._open.add(server)
                try:
                    while self._exchange(client, server):
                        pass
                finally:
                    self._open.discard(server)
        except OSError:
            pass  # cut, by us or by them
        finally:
            self._open.discard(client)

    def _exchange(self, client: socket.socket, server: socket.socket) -> bool:
        request = _message(client)
        if not request:
            return False
        if self._happens("cut"):
            server.sendall(request[: len(request) // 2])
            return False
        if self._happens("twice"):
            with socket.create_connection(self._server) as other:
                other.sendall(request)
                _message(other)
        server.sendall(request)
        answer = _message(server)
        time.sleep(self._chance.random() * self._options.get("delay", 0.0))
        if self._happens("deaf"):
            return False
        if self._happens("half"):
            client.sendall(answer[: len(answer) // 2])
            return False
        client.sendall(answer)
        return True


def _message(source: socket.socket) -> bytes:
    """Read one HTTP/1.1 message whose length is told; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = source.recv(_BLOCK)
        if not block:
            return b""
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        block = source.recv(_BLOCK)
        if not block:
            return b""
        body += block
    return head + b"\r\n\r\n" + body
