"""A Ray cluster by its dashboard's HTTP API: nodes, resources and jobs, and stopping a job.

Whom to ask is said by the environment of whoever started the dashboard, never by a visitor. What it answers is taken as
text of others: bounded, checked, and without credentials that stand in a command.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

import polars as pl

from mlrun.errors import AccessDenied, NotFound, StoreError
from mlrun.redact import redact_argv, redact_text, redact_url

if TYPE_CHECKING:
    from http.client import HTTPMessage
    from typing import IO

__all__ = ["RayApi", "ray_api"]

_WAIT = 5.0  # seconds for an answer
_MOST = 20_000_000  # bytes of one
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_TIME = pl.Datetime("us", "UTC")
_NODES: dict[str, Any] = {
    "host": pl.String, "state": pl.String, "head": pl.Boolean, "cpus": pl.Float64, "gpus": pl.Float64,
    "memory": pl.Float64, "cpu_percent": pl.Float64, "memory_percent": pl.Float64, "workers": pl.Int64,
    "node_id": pl.String,
}  # fmt: skip
_JOBS: dict[str, Any] = {
    "job": pl.String, "name": pl.String, "state": pl.String, "started": _TIME, "ended": _TIME,
    "command": pl.String, "message": pl.String, "stoppable": pl.Boolean,
}  # fmt: skip


def ray_api() -> RayApi | None:
    """Return the API that the environment names; None if it names none over HTTP."""
    for name in _ADDRESSES:
        address = os.environ.get(name, "")
        if address.startswith(("http://", "https://")):
            return RayApi(address)
    return None


class RayApi:
    """The API at one address.

    Attributes:
        address: without credentials and the slash at its end; may be shown.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self.address = redact_url(self._address)
        self._opener = build_opener(_NoRedirects)

    def nodes(self) -> pl.DataFrame:
        """Return nodes: `host, state, head, cpus, gpus, memory` (bytes), the load in percent, `workers, node_id`.

        Raises:
            StoreError: it does not answer, or not as Ray does.
            AccessDenied: it wants a token, or another one.
        """
        found = _dict(_dict(self._ask("GET", "/nodes?view=summary")).get("data")).get("summary")
        rows = [_node(node) for node in _dicts(found)]
        return pl.DataFrame(rows, schema=_NODES).sort("head", "host", descending=[True, False])

    def load(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return what is used of what there is, `resource, used, total`, and what waits for more, `wants, count`.

        See `nodes` for errors.
        """
        data = _dict(_dict(self._ask("GET", "/api/cluster_status")).get("data"))
        report = _dict(_dict(data.get("clusterStatus")).get("loadMetricsReport"))
        used = [
            (str(name), _number(pair[0]), _number(pair[1]))
            for name, pair in _dict(report.get("usage")).items()
            if isinstance(pair, list) and len(pair) == 2 and not str(name).startswith("node:")
        ]
        asked = report.get("resourceDemand")
        waits = [
            (_wants(each[0]), int(_number(each[1]) or 0))
            for each in (asked if isinstance(asked, list) else [])
            if isinstance(each, list) and len(each) == 2
        ]
        numbers = {"resource": pl.String, "used": pl.Float64, "total": pl.Float64}
        return (
            pl.DataFrame(used, schema=numbers, orient="row").sort("resource"),
            pl.DataFrame(waits, schema={"wants": pl.String, "count": pl.Int64}, orient="row"),
        )

    def jobs(self) -> pl.DataFrame:
        """Return jobs, the last begun first: `job, name, state, started, ended, command, message, stoppable`.

        See `nodes` for errors.
        """
        rows = [_job(job) for job in _dicts(self._ask("GET", "/api/jobs/"))]
        return pl.DataFrame(rows, schema=_JOBS).sort("started", descending=True, nulls_last=True)

    def stop(self, job: str) -> None:
        """Ask a job to stop.

        Raises:
            NotFound: there is none of that id.
            StoreError: see `nodes`.
        """
        self._ask("POST", f"/api/jobs/{quote(job, safe='')}/stop")

    def _ask(self, method: str, path: str) -> Any:
        request = Request(self._address + path, method=method, headers=_headers())
        try:
            with self._opener.open(request, timeout=_WAIT) as reply:
                body = reply.read(_MOST + 1)
        except HTTPError as error:
            with error:
                code = error.code
            if code in (401, 403):
                raise AccessDenied(
                    "Ray wants a token, or another one: start the dashboard with RAY_AUTH_MODE=token and "
                    "RAY_AUTH_TOKEN_PATH, as the cluster's own programs are"
                ) from None
            if code == 404 and method == "POST":
                raise NotFound("Ray knows no job of this id any more") from None
            raise StoreError(f"Ray at {self.address} answered {code}") from None
        except (URLError, OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise StoreError(f"Ray at {self.address} does not answer: {why}") from None
        if len(body) > _MOST:
            raise StoreError(f"Ray at {self.address} answered more than {_MOST:,} bytes")
        try:
            return json.loads(body)
        except ValueError:
            raise StoreError(f"what answers at {self.address} is not Ray") from None


class _NoRedirects(HTTPRedirectHandler):
    """Send nobody's token elsewhere."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        return None


def _headers() -> dict[str, str]:
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if not token:
        place = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
        try:
            token = Path(place).expanduser().read_text("utf-8")
        except OSError:
            token = ""
    given = {"Accept": "application/json"}
    return {**given, "Authorization": f"Bearer {token.strip()}"} if token.strip() else given


def _node(node: dict[str, Any]) -> dict[str, Any]:
    raylet = _dict(node.get("raylet"))
    total = _dict(raylet.get("resourcesTotal"))
    memory = node.get("mem")
    used = _number(memory[2]) if isinstance(memory, list) and len(memory) > 2 else None
    workers = raylet.get("numWorkers")
    return {
        "host": str(raylet.get("nodeManagerHostname") or node.get("hostname") or ""),
        "state": str(raylet.get("state") or "").lower(), "head": bool(raylet.get("isHeadNode")),
        "cpus": _number(total.get("CPU")), "gpus": _number(total.get("GPU")), "memory": _number(total.get("memory")),
        "cpu_percent": _number(node.get("cpu")), "memory_percent": used,
        "workers": workers if isinstance(workers, int) else None,
        "node_id": str(raylet.get("nodeId") or ""),
    }  # fmt: skip


def _job(job: dict[str, Any]) -> dict[str, Any]:
    facts, state = _dict(job.get("metadata")), str(job.get("status") or "").lower()
    return {
        "job": str(job.get("submission_id") or job.get("job_id") or ""),
        "name": str(facts.get("mlrun/name") or facts.get("job_name") or ""),
        "state": state, "started": _moment(job.get("start_time")), "ended": _moment(job.get("end_time")),
        "command": redact_text(" ".join(redact_argv(str(job.get("entrypoint") or "").split())))[:500],
        "message": redact_text(str(job.get("message") or ""))[:500],
        "stoppable": bool(job.get("submission_id")) and state in ("pending", "running"),
    }  # fmt: skip


def _wants(bundle: Any) -> str:
    """Return resources that are wanted together, as text: `2 CPU, 1 GPU`."""
    return ", ".join(f"{_number(value) or 0:g} {name}" for name, value in _dict(bundle).items())


def _moment(value: Any) -> Any:
    """Return milliseconds since 1970 as a moment."""
    from datetime import UTC, datetime

    number = _number(value)
    if not number or not 0 < number < 4e12:
        return None
    return datetime.fromtimestamp(number / 1e3, UTC)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
