"""A Kubernetes API server for tests: real HTTP on loopback, for the real client, with KubeRay's operator behind it.

It keeps custom resources with versions, tells changes to watches, keeps pods, their logs and secrets, asks for a token,
and can be told to misbehave: `fault` (errors, slowness), `drop_watches`, `forget` (410 Gone). What runs behind it is in
`mlrun.testing.kubeoperator`.

```python
with KubeAPI(validate=Schemas(folder).errors) as server:
    executor = KubeRayExecutor(kubeconfig=str(server.kubeconfig(tmp_path)), image="any")
```
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from mlrun.testing.kubestore import KubeError, KubeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from mlrun.testing.kubeoperator import KubeOperator

__all__ = ["KubeAPI"]

_PLURALS = ("rayjobs", "rayclusters", "raycronjobs")
_PATHS = [
    (re.compile(r"/apis/ray\.io/v1/namespaces/([^/]+)/(\w+)(?:/([^/]+))?(/status)?"), "custom"),
    (re.compile(r"/api/v1/namespaces/([^/]+)/(pods|secrets)(?:/([^/]+))?(/log)?"), "core"),
    (re.compile(r"/api/v1/namespaces/([^/]+)/services/([^/]+)/proxy/(.+)"), "proxy"),
]


@dataclass
class Fault:
    """What a matching request gets instead of an answer (`status`), or before it (`delay`)."""

    method: str
    path: re.Pattern[str]
    status: int
    times: int
    delay: float
    after: bool  # whether the request is served first, and only its answer is lost


class KubeAPI:
    """The server; a context manager that also stops every process that its operator started.

    Args:
        validate: returns what is wrong with a manifest; it is asked on create and replace.
        operator: arguments of `KubeOperator`.

    Attributes:
        url: its address.
        token: what `Authorization: Bearer` must carry.
        store: the resources.
        operator: what makes RayJobs run.
        requests: method and path of everything that was asked.
    """

    def __init__(
        self,
        *,
        validate: Callable[[Mapping[str, Any]], list[str]] | None = None,
        **operator: Any,
    ) -> None:
        from mlrun.testing.kubeoperator import KubeOperator

        self.token = secrets.token_hex(8)
        self.store = KubeStore()
        self.operator: KubeOperator = KubeOperator(self.store, **operator)
        self.requests: list[str] = []
        self.validate = validate
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._streams: set[socket.socket] = set()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.kube = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> KubeAPI:
        """Serve."""
        self._thread.start()
        self.operator.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving, and everything that runs."""
        self.operator.stop()
        self.store.close()
        self._http.shutdown()
        self.drop_watches()
        self._http.server_close()
        self._thread.join(10)

    def kubeconfig(self, folder: Path, *, namespace: str = "default") -> Path:
        """Write a kubeconfig for this server, with the context `test`; returns the file."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [
                {
                    "name": "test",
                    "context": {"cluster": "test", "user": "test", "namespace": namespace},
                }
            ],
        }
        file = folder / "kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(config), encoding="utf-8")
        return file

    def secret(self, name: str, data: Mapping[str, str], namespace: str = "default") -> None:
        """Make a secret."""
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
        self.store.create("secrets", namespace, {"metadata": {"name": name}, "data": encoded})

    def fault(
        self,
        method: str,
        path: str,
        *,
        status: int = 0,
        times: int = 1,
        delay: float = 0.0,
        after: bool = False,
    ) -> None:
        """Let the next requests of that method and path (a pattern, with the query) go wrong."""
        with self._lock:
            self._faults.append(Fault(method, re.compile(path), status, times, delay, after))

    def drop_watches(self) -> int:
        """Cut the connection of everything that is streamed, in the middle; returns how many."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        return len(streams)

    def forget(self) -> None:
        """Forget all changes until now: to watch from before is 410 Gone."""
        self.store.forget()
        self.drop_watches()

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Return the fault of a request, if it has one."""
        with self._lock:
            for fault in self._faults:
                if fault.method == method and fault.times > 0 and fault.path.search(path):
                    fault.times -= 1
                    return fault
        return None

    def streaming(self, connection: socket.socket, *, on: bool) -> None:
        """Remember a connection that `drop_watches` may cut."""
        with self._lock:
            (self._streams.add if on else self._streams.discard)(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    kube: KubeAPI

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        kube = self.server.kube
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        kube.requests.append(f"{method} {self.path}")
        fault = kube.take_fault(method, self.path)
        if fault is not None and fault.delay:
            time.sleep(fault.delay)
        try:
            if self.headers.get("Authorization", "") != f"Bearer {kube.token}":
                raise KubeError(401, "Unauthorized")
            if fault is not None and fault.status and not fault.after:
                raise KubeError(fault.status, "told to misbehave")
            answer = self._answer(method, body)
            if fault is not None and fault.status:
                raise KubeError(fault.status, "told to misbehave, after the deed")
        except KubeError as error:
            self._send(error.status, error.body())
        else:
            if answer is not None:
                self._send(201 if method == "POST" else 200, answer)

    def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, method: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer; None when it was streamed."""
        split = urlsplit(self.path)
        query = {k: v[-1] for k, v in parse_qs(split.query).items()}
        for pattern, kind in _PATHS:
            if match := pattern.fullmatch(split.path):
                namespace, second, third, last = (
                    unquote(g or "") for g in (*match.groups(), "")[:4]
                )
                if kind == "proxy":
                    return self._proxy(second, third)
                if kind == "core" and last:
                    self._log(namespace, third, query)
                    return None
                if kind == "custom" and second not in _PLURALS:
                    break
                return self._resource(method, second, namespace, third, bool(last), body, query)
        raise KubeError(404, f"the server could not find the requested resource {split.path}")

    def _resource(
        self, method: str, plural: str, namespace: str, name: str, status: bool,
        body: dict[str, Any], query: dict[str, str],
    ) -> dict[str, Any] | None:  # fmt: skip
        store = self.server.kube.store
        validate = self.server.kube.validate
        if (
            method in ("POST", "PUT")
            and plural in _PLURALS
            and validate
            and (wrong := validate(body))
        ):
            raise KubeError(422, f"{plural} is invalid: {'; '.join(wrong)}")
        if method == "POST":
            return store.create(plural, namespace, body)
        if method == "PUT":
            return store.replace(plural, namespace, name, body)
        if method == "PATCH":
            return store.patch(plural, namespace, name, body, status=status)
        if method == "DELETE":
            uid = body.get("preconditions", {}).get("uid", "")
            return store.delete(plural, namespace, name, uid=uid)
        if name:
            return store.get(plural, namespace, name)
        if query.get("watch") in ("true", "True", "1"):
            self._stream_watch(plural, namespace, query)
            return None
        items, version = store.list(plural, namespace, query.get("labelSelector", ""))
        return {"kind": "List", "metadata": {"resourceVersion": version}, "items": items}

    def _stream_watch(self, plural: str, namespace: str, query: dict[str, str]) -> None:
        store = self.server.kube.store
        version = int(query.get("resourceVersion") or 0)
        end = time.monotonic() + float(query.get("timeoutSeconds") or 60)
        selector = query.get("labelSelector", "")
        store.events(plural, namespace, version, selector, 0)  # 410 before the stream begins
        with _Stream(self):
            while (left := end - time.monotonic()) > 0 and not store.closed:
                try:
                    events, version = store.events(
                        plural, namespace, version, selector, min(left, 1)
                    )
                except KubeError as error:
                    self._chunk({"type": "ERROR", "object": error.body()})
                    return
                for event in events:
                    self._chunk(event)
                if not events and query.get("allowWatchBookmarks"):
                    mark = {"metadata": {"resourceVersion": str(version)}}
                    self._chunk({"type": "BOOKMARK", "object": mark})

    def _log(self, namespace: str, name: str, query: dict[str, str]) -> None:
        kube = self.server.kube
        pod = kube.store.get("pods", namespace, name)
        log = kube.operator.log_of(pod, query.get("container", ""))
        if log is None:
            raise KubeError(400, f"container in pod {name} is waiting to start")
        since = 0.0
        if "sinceSeconds" in query:
            since = time.time() - float(query["sinceSeconds"])
        follow = query.get("follow") in ("true", "True")
        with _Stream(self):
            at = 0
            while True:
                lines, ended = log.read(at, 1.0 if follow else 0.0)
                at += len(lines)
                text = "".join(f"{_stamp(t)} {line}\n" for t, line in lines if t >= since)
                if text:
                    self._chunk(text)
                if not lines and (ended or not follow or kube.store.closed):
                    return

    def _proxy(self, service: str, path: str) -> dict[str, Any]:
        token = self.headers.get("X-Ray-Authorization", "").removeprefix("Bearer ")
        return self.server.kube.operator.dashboard(service.partition("-head-svc")[0], path, token)

    def _chunk(self, data: Any) -> None:
        text = data if isinstance(data, str) else json.dumps(data) + "\n"
        raw = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
        self.wfile.flush()


class _Stream:
    """The frame of a streamed answer: whole when it ends, cut when the connection was."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        handler = self._handler
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.flush()
        handler.server.kube.streaming(handler.connection, on=True)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        handler = self._handler
        handler.server.kube.streaming(handler.connection, on=False)
        if kind is None:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.close_connection = True


def _stamp(seconds: float) -> str:
    whole, part = divmod(round(seconds * 1e9), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{part:09d}Z"
