"""The process behind `mlrun.testing.s3`: moto's S3 in front of which faults can be put; prints its port."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__: list[str] = []

_ERROR = (
    "<?xml version='1.0'?><Error><Code>{code}</Code><Message>asked for by a test</Message></Error>"
)
_CODES = {"503": "SlowDown", "500": "InternalError", "403": "AccessDenied", "404": "NoSuchKey"}


class _Faults:
    """A WSGI application that counts, disturbs or passes on each request."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._faults: list[dict[str, Any]] = []
        self._seen: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/_control/"):
            length = int(environ.get("CONTENT_LENGTH") or 0)
            given = json.loads(environ["wsgi.input"].read(length) or b"{}")
            answer = json.dumps(getattr(self, "_do_" + path.rsplit("/", 1)[1])(**given)).encode()
            start("200 OK", [("Content-Length", str(len(answer)))])
            return [answer]
        query = environ.get("QUERY_STRING", "")
        how = self._fault(environ["REQUEST_METHOD"], f"{path}?{query}" if query else path)
        if how is None:
            return self._app(environ, start)
        if how == "half":
            return self._half(environ, start)
        if how == "cut":
            list(self._app(environ, lambda *_: lambda _: None))
        if how in {"cut", "refuse"}:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError("closed as a test asked")
        answer = _ERROR.format(code=_CODES.get(how, "Error")).encode()
        start(f"{how} Error", [("Content-Length", str(len(answer)))])
        return [answer]

    def _half(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        told: list[Any] = []

        def tell(*answer: Any) -> Callable[[bytes], None]:
            told.extend(answer)
            return lambda _: None

        body = b"".join(self._app(environ, tell))
        start(*told[:2])
        yield body[: len(body) // 2]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    def _fault(self, method: str, path: str) -> str | None:
        with self._lock:
            self._seen.append(f"{method} {path}")
            for fault in self._faults:
                if fault["method"] not in {"", method} or not re.search(fault["path"], path):
                    continue
                if fault["skip"]:
                    fault["skip"] -= 1
                elif fault["times"]:
                    fault["times"] -= 1
                    return str(fault["how"])
        return None

    def _do_fail(self, **fault: Any) -> None:
        with self._lock:
            self._faults.append(fault)

    def _do_calm(self) -> None:
        with self._lock:
            self._faults, self._seen = [], []

    def _do_requests(self) -> list[str]:
        with self._lock:
            return list(self._seen)

    def _do_drop(self, bucket: str) -> None:
        _buckets()[bucket].keys.clear()
        _backend().delete_bucket(bucket)

    def _do_keys(self, bucket: str) -> list[str]:
        return sorted(_buckets()[bucket].keys)

    def _do_uploads(self, bucket: str) -> list[str]:
        return sorted(u.key_name for u in _buckets()[bucket].multiparts.values())

    def _do_age(self, bucket: str, key: str, seconds: float) -> None:
        found = _buckets()[bucket]
        for name in [key] if key else list(found.keys):
            with suppress(KeyError):  # gone since
                found.keys[name].last_modified -= timedelta(seconds=seconds)


def _backend() -> Any:
    from moto.s3.models import s3_backends

    return s3_backends["123456789012"]["aws"]


def _buckets() -> dict[str, Any]:
    return dict(_backend().buckets)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve until the parent is gone."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Print nothing: what happens is in `requests()`."""

    app = _Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(server.port, flush=True)  # noqa: T201 - the parent reads it
    server.serve_forever()


if __name__ == "__main__":
    main()
