"""A real S3 server for tests: `moto` in a process of its own on loopback, with faults on request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from mlrun.ids import uuid7

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["S3Server"]

_KEY, _SECRET = "testing", "not-a-secret-testing"
_REGION = "us-east-1"


class S3Server:
    """An S3 server on a free port of loopback; a context manager.

    Attributes:
        endpoint: where it listens, `http://127.0.0.1:<port>`.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> S3Server:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "mlrun.testing.s3process"]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true"},
            stdin=subprocess.PIPE,  # it ends when this closes: no server outlives a killed test process
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it tells of every request that a client gave up
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"the S3 server did not start: exit code {self._process.wait()}")
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it; its buckets lie in its memory."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which every S3 library finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": _REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    def bucket(self) -> str:
        """Make an empty bucket; return its name."""
        name = f"t-{uuid7()}"
        self._call("PUT", f"/{name}")
        return name

    def drop(self, bucket: str) -> None:
        """Remove a bucket with everything in it."""
        self._control("drop", bucket=bucket)

    def url(self, bucket: str, prefix: str = "") -> str:
        """Return a store URL of a bucket that needs nothing from the environment."""
        options = {
            "endpoint": self.endpoint,
            "region": _REGION,
            "allow_http": "true",
            "access_key_id": _KEY,
            "secret_access_key": _SECRET,
        }
        return f"s3://{bucket}/{quote(prefix)}?{urlencode(options)}"

    def keys(self, bucket: str) -> list[str]:
        """Return the names of all objects of a bucket, sorted."""
        return list(self._control("keys", bucket=bucket))

    def uploads(self, bucket: str) -> list[str]:
        """Return the names for which a multipart upload was begun and neither completed nor aborted."""
        return list(self._control("uploads", bucket=bucket))

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Store bytes, or replace them behind everybody's back."""
        self._call("PUT", f"/{bucket}/{quote(key)}", data)

    def age(self, bucket: str, seconds: float, key: str = "") -> None:
        """Make objects older, and uploads too: the one of this name, or all."""
        self._control("age", bucket=bucket, key=key, seconds=seconds)

    def fail(
        self, *, method: str = "", path: str = "", times: int = 1, how: str = "503", skip: int = 0
    ) -> None:
        """Disturb the next requests that match.

        Args:
            method: "PUT", …; "" for any.
            path: a regular expression searched in path and query; "" for any.
            times: how many requests.
            how: a status such as "503" that is answered instead; "cut" to serve the request and close the connection
                without an answer; "half" to close it in the middle of the answer's body; "refuse" to close it unserved.
            skip: how many matching requests pass first.
        """
        self._control("fail", method=method, path=path, times=times, how=how, skip=skip)

    def calm(self) -> None:
        """Forget all faults that were asked for, and the requests seen."""
        self._control("calm")

    def requests(self) -> list[str]:
        """Return the requests seen since the last `calm`, as `METHOD /path?query`."""
        return list(self._control("requests"))

    def _control(self, what: str, **arguments: Any) -> Any:
        answer = self._call("POST", f"/_control/{what}", json.dumps(arguments).encode())
        return json.loads(answer)

    def _call(self, method: str, path: str, data: bytes | None = None) -> bytes:
        # the server looks for a signature, and believes any
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={_KEY}/20000101/{_REGION}/s3/aws4_request"
        }
        request = Request(self.endpoint + path, data=data, headers=headers, method=method)
        with urlopen(request, timeout=30) as answer:
            return bytes(answer.read())
