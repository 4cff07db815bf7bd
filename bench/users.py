"""Users of a server over HTTP: each has a connection, asks, waits for the whole answer, thinks, asks again.

A process holds many of them in one event loop, and its client does no more than reading sockets, so that what is
measured is the server. A share of the answers is read, outside of the timing: an empty or torn one is an error.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["use"]

_READ = 20  # one answer in so many is read
_ARROW = "application/vnd.apache.arrow.stream"
_PATIENCE = 60.0
Question = tuple[str, str, dict[str, Any] | None, int]  # what, path, body, rows at least


@dataclass
class _Seen:
    taken: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    same: int = 0
    bytes: int = 0


class _Connection:
    """HTTP/1.1 over one socket that stays open."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        own = {"Host": f"{self._host}:{self._port}", "Accept-Encoding": "gzip", **headers}
        self._own = "".join(f"{name}: {value}\r\n" for name, value in own.items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, path: str, body: dict[str, Any] | None, tag: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        sent = b"" if body is None else json.dumps(body).encode()
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\n{self._own}"
        if tag:
            head += f"If-None-Match: {tag}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n"
        writer.write(head.encode() + b"\r\n" + sent)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)
        }
        status = int(first.split()[1])
        if "chunked" in headers.get("transfer-encoding", ""):
            return status, headers, await _chunks(reader)
        size = int(headers.get("content-length", "0"))
        return status, headers, await reader.readexactly(size) if size else b""

    def close(self) -> None:
        """Begin anew with the next question."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        found += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return found


def use(
    kind: str, url: str, token: str, first: int, users: int, start: float, seconds: float,
    think: float, ids: list[str], live: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Be some users of a server, in the child.

    Args:
        kind: `mlrun` or `mlflow`.
        url, token: of the server.
        first, users: number of the first one, and how many.
        start, seconds: when they begin (monotonic) and how long they ask.
        think: seconds that each waits behind an answer, on average (exponential).
        ids: runs that are stored.
        live: runs that are being written.
    """
    return asyncio.run(
        _use(kind, url, token, range(first, first + users), start, seconds, think, ids, live)
    )


async def _use(
    kind: str, url: str, token: str, numbers: range, start: float, seconds: float, think: float,
    ids: list[str], live: list[str],
) -> dict[str, Any]:  # fmt: skip
    seen = _Seen()
    script = {"mlrun": _ours, "mlflow": _mlflow}[kind]
    await asyncio.sleep(max(0.0, start - time.monotonic()))
    users = (
        _user(
            number,
            _Connection(url, _headers(number, token)),
            script,
            seen,
            start + seconds,
            think,
            ids,
            live,
        )
        for number in numbers
    )
    await asyncio.gather(*users)
    return {"taken": seen.taken, "errors": seen.errors, "same": seen.same, "bytes": seen.bytes}


def _headers(number: int, token: str) -> dict[str, str]:
    accept = {"Accept": _ARROW if number % 2 else "application/json"}
    return {**accept, "Authorization": f"Bearer {token}"} if token else {"Accept": "*/*"}


async def _user(
    number: int, connection: _Connection, script: Any, seen: _Seen, end: float, think: float,
    ids: list[str], live: list[str],
) -> None:  # fmt: skip
    chance = random.Random(number)
    tags: dict[str, str] = {}
    for what, path, body, rows in script(chance, ids, live):
        await asyncio.sleep(chance.expovariate(1 / think))
        if time.monotonic() > end:
            break
        begin = time.perf_counter()
        try:
            status, headers, answer = await asyncio.wait_for(
                connection.ask(path, body, tags.get(path, "")), _PATIENCE
            )
        except (OSError, EOFError, TimeoutError) as error:
            seen.errors.append(f"{what}: {type(error).__name__} {error}")
            connection.close()
            continue
        seen.taken.setdefault(what, []).append(time.perf_counter() - begin)
        seen.bytes += len(answer)
        if status == 304:
            seen.same += 1
        elif status != 200:
            seen.errors.append(f"{what}: {status} {answer[:200].decode(errors='replace')}")
        elif chance.randrange(_READ) == 0 and (found := _rows(headers, answer)) < rows:
            seen.errors.append(f"{what}: {found} rows")
        if "etag" in headers:
            tags[path] = headers["etag"]
    connection.close()


def _rows(headers: dict[str, str], body: bytes) -> int:
    """Return how much is in an answer: rows of a frame, entries of a document."""
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    if headers["content-type"].startswith(_ARROW):
        import polars as pl

        return pl.read_ipc_stream(io.BytesIO(body)).height
    found = json.loads(body)
    return max((len(v) for v in found.values() if isinstance(v, (list, dict))), default=0)


def _some(chance: random.Random, ids: list[str], live: list[str]) -> str:
    """Return a run to open: every second time one that is being written."""
    return chance.choice(live if chance.random() < 0.5 else ids)


def _ours(chance: random.Random, ids: list[str], live: list[str]) -> Iterator[Question]:
    """List, open a run, see its charts; filter, open one, compare four; as long as somebody asks."""
    while True:
        api = "/api/v1"
        yield "list newest 100", f"{api}/runs?limit=100", None, 100
        run = _some(chance, ids, live)
        yield "open a run", f"{api}/runs/{run}", None, 1
        yield "charts of a run", f"{api}/runs/{run}/metrics?points=1000", None, 10
        where = f"metrics.acc > {chance.uniform(0.8, 0.95):.3f} and params.lr = 0.1"
        asked = urlencode({"project": "w1", "where": where, "limit": 100})
        yield "filter", f"{api}/runs?{asked}", None, 1
        run = _some(chance, ids, live)
        yield "open a run", f"{api}/runs/{run}", None, 1
        yield "charts of a run", f"{api}/runs/{run}/metrics?points=1000", None, 10
        four = urlencode([("run_id", _some(chance, ids, live)) for _ in range(4)])
        yield "compare 4 runs", f"{api}/metrics?{four}&key=m0&points=500", None, 4


def _mlflow(chance: random.Random, ids: list[str], live: list[str]) -> Iterator[Question]:
    """Ask what MLflow's own page asks for the same: a chart is a request for every metric of it."""
    api = "/api/2.0/mlflow"
    search = {"experiment_ids": ["1"], "max_results": 100}
    newest = {**search, "order_by": ["attributes.start_time DESC"]}

    def opened() -> Iterator[Question]:
        run = _some(chance, ids, live)
        yield "open a run", f"{api}/runs/get?run_id={run}", None, 1
        bulk = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
        names = ["acc", "loss", *(f"m{i}" for i in range(8))]
        for name in names:
            asked = urlencode({"run_ids": run, "metric_key": name, "max_results": 1000})
            yield "chart of a metric", f"{bulk}?{asked}", None, 1

    while True:
        yield "list newest 100", f"{api}/runs/search", newest, 1
        yield from opened()
        text = f"metrics.acc > {chance.uniform(0.8, 0.95):.3f} and params.lr = '0.1'"
        yield "filter", f"{api}/runs/search", {**search, "filter_string": text}, 1
        yield from opened()
        four = [("run_ids", _some(chance, ids, live)) for _ in range(4)]
        asked = urlencode([*four, ("metric_key", "m0"), ("max_results", 500)])
        yield (
            "compare 4 runs",
            f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{asked}",
            None,
            1,
        )
