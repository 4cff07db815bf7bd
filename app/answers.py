"""Frames as answers: an Arrow IPC stream with zstd, or JSON; what the caller has already is not sent again."""

from __future__ import annotations

import io
import json
import math
import random
from typing import TYPE_CHECKING, Any

import polars as pl
from polars import selectors as cs
from starlette.responses import Response

from mlrun.errors import QueryError
from mlrun.wire import ARROW, JSON, pack_parts

from .answered import Answered, Form, finished

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from .auth import Caller
    from .gateway import Gateway

__all__ = [
    "answer",
    "arrow_bytes",
    "frame_answer",
    "json_answer",
    "json_rows",
    "parts_bytes",
    "wants_arrow",
]


def arrow_bytes(frame: pl.DataFrame) -> bytes:
    """Return a frame as an Arrow IPC stream whose buffers are packed with zstd."""
    body = io.BytesIO()
    frame.write_ipc_stream(body, compression="zstd")
    return body.getvalue()


def parts_bytes(frames: Mapping[str, pl.DataFrame]) -> bytes:
    """Return several frames as one body."""
    return pack_parts({name: arrow_bytes(frame) for name, frame in frames.items()})


def json_rows(frame: pl.DataFrame) -> bytes:
    """Return a frame as a JSON array of objects.

    Times are ISO 8601 in UTC, durations ISO 8601 too. What JSON has no number for is text: "NaN", "Infinity",
    "-Infinity".
    """
    odd = [
        name
        for name in frame.select(cs.float()).columns
        if not frame[name].drop_nulls().is_finite().all()
    ]
    if not odd:
        return frame.write_json().encode("utf-8", "surrogatepass")
    # the writer has no text for these in a column of numbers: three random ones stand for them until it is done
    stands = {
        text: random.SystemRandom().uniform(1e299, 1e300)
        for text in ("NaN", "Infinity", "-Infinity")
    }
    nan, more, less = stands.values()
    columns = [
        pl.when(pl.col(n).is_nan()).then(nan)
        .when(pl.col(n) == math.inf).then(more)
        .when(pl.col(n) == -math.inf).then(less)
        .otherwise(pl.col(n)).alias(n)
        for n in odd
    ]  # fmt: skip
    text = frame.with_columns(columns).write_json()
    for name, number in stands.items():
        written = pl.DataFrame({"x": [number]}).write_json()[6:-2]
        text = text.replace(f":{written},", f':"{name}",').replace(f":{written}}}", f':"{name}"}}')
    return text.encode("utf-8", "surrogatepass")


def wants_arrow(request: Request) -> bool:
    """Whether `Accept` asks for Arrow; JSON is what everybody else gets.

    Raises:
        QueryError: it asks for neither.
    """
    accepted = request.headers.get("accept", "*/*").lower()
    if ARROW in accepted:
        return True
    if any(kind in accepted for kind in (JSON, "*/*", "application/*")):
        return False
    raise QueryError(f"answers are {JSON} or {ARROW}, not {accepted[:100]}")


async def answer(
    gateway: Gateway, request: Request, caller: Caller, name: str, *arguments: Any
) -> Response:
    """Have an answer worked out, see `app.answering`, and send it in the form that the caller wants."""
    found = await gateway.answers.ask(caller, _form(request), name, *arguments)
    return _sent(request, found)


def _form(request: Request) -> Form:
    packs = "gzip" in request.headers.get("accept-encoding", "")
    return Form(tagged=request.method == "GET", packs=packs)


def _sent(request: Request, found: Answered, status: int = 200) -> Response:
    if tag := found.headers.get("ETag"):
        known = [t.strip() for t in request.headers.get("if-none-match", "").split(",")]
        if tag in known or "*" in known:
            headers = {n: v for n, v in found.headers.items() if n != "Content-Encoding"}
            return Response(status_code=304, headers=headers)
    return Response(found.body, status, found.headers, media_type=found.kind)


async def frame_answer(
    gateway: Gateway,
    request: Request,
    question: Callable[[], pl.DataFrame],
) -> Response:
    """Ask in a thread of the gateway itself, and return the frame in the form that the caller wants."""
    arrow, form = wants_arrow(request), _form(request)

    def work() -> Answered:
        frame = question()
        if arrow:
            return finished(Answered(arrow_bytes(frame), ARROW), form)
        body = b'{"rows":%b,"next":null}' % json_rows(frame)
        return finished(Answered(body, JSON), form)

    return _sent(request, await gateway.work(work))


async def json_answer(
    gateway: Gateway, request: Request, question: Callable[[], Any], status: int = 200
) -> Response:
    """Ask in a thread, and return what JSON can say."""
    form = _form(request)

    def work() -> Answered:
        body = json.dumps(plain(question()), ensure_ascii=False, allow_nan=False)
        return finished(Answered(body.encode("utf-8", "replace"), JSON), form)

    return _sent(request, await gateway.work(work), status)


def plain(value: Any) -> Any:
    """Return what JSON can say of a value: times as ISO 8601, odd numbers as text."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value.isoformat() if hasattr(value, "isoformat") else value
