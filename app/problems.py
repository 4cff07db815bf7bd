"""Errors as problem documents (RFC 9457): the same class and message that the embedded store raises."""

from __future__ import annotations

import math
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mlrun.errors import MlrunError, NotSignedIn, StoreBusy
from mlrun.wire import PROBLEM, problem_of

from .logs import log, request_id

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

    from mlrun.store import Store

__all__ = ["PROBLEMS", "Problem", "install", "problem_response", "told_problem"]


class Problem(BaseModel):
    """What went wrong."""

    type: str = "about:blank"
    title: str = Field(description="The phrase of the status.")
    status: int
    detail: str = Field(description="One sentence for a person.")
    error: str = Field(description="The class of the error, as `mlrun.errors` names it.")
    text: str | None = Field(None, description="Of a question: its text.")
    position: int | None = Field(None, description="Of a question: the place in `text`, from 0.")
    request_id: str | None = Field(None, description="As in the gateway's log.")


_CONTENT = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
# every route may answer so
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": told, "content": _CONTENT}
    for status, told in (
        (400, "The question cannot be understood."),
        (401, "No key was given, or it is not good."),
        (403, "The caller may not do that."),
        (404, "It is not there."),
        (406, "No form of the answer fits `Accept`."),
        (409, "Somebody else was first."),
        (413, "It is too large."),
        (422, "The request does not fit the schema."),
        (429, "The caller sends more than their share; see `Retry-After`."),
        (500, "The gateway or its store failed."),
        (503, "Too much is asked just now; see `Retry-After`."),
    )
}


def told_problem(store: Store, error: BaseException, current: str = "") -> dict[str, Any]:
    """Return the problem document of an error as callers are told it: files by their place in the store."""
    document = problem_of(error, current)
    parts = [urlsplit(store.part_url(name)) for name in ("records", "series", "objects")]
    own = ("/" + part.path.lstrip("/") for part in parts if not part.hostname)
    folders = {str(store.folder), *own}
    known = {folder.rstrip("/") for folder in folders} | {os.path.realpath(f) for f in folders}
    for folder in sorted(known - {""}, key=len, reverse=True):
        place = os.path.relpath(folder, store.folder)
        name = "the store" if place.startswith(".") else place
        document["detail"] = document["detail"].replace(folder, name)
    return document


def problem_response(store: Store, error: BaseException) -> Response:
    """Return the answer to a request that failed."""
    document = told_problem(store, error, request_id.get())
    headers = {}
    if isinstance(error, NotSignedIn):
        headers["WWW-Authenticate"] = 'Bearer realm="mlrun"'
    if isinstance(error, StoreBusy):
        headers["Retry-After"] = str(max(1, math.ceil(getattr(error, "seconds", 1.0))))
    return _response(document, headers)


def plain_problem(status: int, detail: str, error: str, **headers: str) -> Response:
    """Return a problem that is the protocol's, not the store's."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": error,
    }
    if current := request_id.get():
        document["request_id"] = current
    return _response(document, headers)


def _response(document: dict[str, Any], headers: dict[str, str]) -> Response:
    body = Problem(**document).model_dump_json(exclude_none=True)
    return Response(
        body.encode("utf-8", "replace"), document["status"], headers, media_type=PROBLEM
    )


def install(app: FastAPI) -> None:
    """Have every error of the app answered by a problem document."""

    async def ours(request: Request, error: Exception) -> Response:
        if isinstance(error, MlrunError) and problem_of(error)["status"] >= 500:
            log.warning("a request failed: %s", error)
        return problem_response(request.app.state.gateway.store, error)

    async def protocol(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = "NotFound" if error.status_code == 404 else "QueryError"
        return plain_problem(
            error.status_code, str(error.detail), kind, **dict(error.headers or {})
        )

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        told = "; ".join(
            f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
            for found in error.errors()[:5]
        )
        return plain_problem(422, told, "QueryError")

    async def unknown(request: Request, error: Exception) -> Response:
        log.error("a request failed", exc_info=error)
        return problem_response(request.app.state.gateway.store, error)

    app.add_exception_handler(MlrunError, ours)
    app.add_exception_handler(HTTPException, protocol)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unknown)
