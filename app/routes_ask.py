"""Routes that clients of this library use: one question, one request; rows by key; changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from mlrun.errors import QueryError
from mlrun.wire import ARROW, ASK, JSON, LOOKUP, MARKS, NOUNS, PARTS

from .answers import answer
from .auth import Caller, caller_of
from .problems import PROBLEMS
from .questions import LOOKED_UP, MODELS, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .gateway import Gateway

__all__ = ["CallerHere", "gateway_of", "router"]

router = APIRouter(tags=["ask"], responses=PROBLEMS)
CallerHere = Annotated[Caller, Depends(caller_of)]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORMS: dict[str, dict[str, Any]] = {
    "arrow": {ARROW: _BINARY},
    "parts": {PARTS: _BINARY},
    "json": {JSON: {"schema": {"type": "object", "required": ["value"]}}},
}


def gateway_of(request: Request) -> Gateway:
    """Return the gateway that serves a request."""
    found: Gateway = request.app.state.gateway
    return found


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI says of a body that is read by `parse`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


def _route(noun: str) -> Callable[..., Awaitable[Response]]:
    async def ask(request: Request, caller: CallerHere) -> Response:
        gateway = gateway_of(request)
        body = await request.body()
        if noun == "sql":
            return await gateway.query(_queried, gateway, caller, body)
        return await answer(gateway, request, caller, "ask", noun, body)

    ask.__name__ = f"ask_{noun}"
    ask.__doc__ = f"Ask for `{noun}`; asking changes nothing, so it may be sent again."
    return ask


def _queried(gateway: Gateway, caller: Caller, body: bytes) -> Response:
    query = parse(MODELS["sql"], body)["query"]
    found = gateway.sql.run(query, caller.projects("read"), audits=caller.may("admin"))
    return Response(found, media_type=ARROW)


for _noun in NOUNS:
    router.add_api_route(
        ASK.format(noun=_noun),
        _route(_noun),
        methods=["POST"],
        response_class=Response,
        responses={200: {"description": "The answer.", "content": _FORMS[NOUNS[_noun]]}},
        openapi_extra=body_schema(MODELS[_noun]),
    )


class Lookup(BaseModel):
    """Which rows: all that match every column of `key`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    table: str
    key: dict[str, str | int | float | bool | None] = {}


class Rows(BaseModel):
    """Rows as objects, times in microseconds since 1970."""

    rows: list[dict[str, Any]]


class Marks(BaseModel):
    """By writer: `[log, offset, segment, row]`, see `mlrun.contracts.Mark`."""

    marks: dict[str, list[int]]


@router.post(LOOKUP, response_model=Rows, openapi_extra=body_schema(Lookup))
async def lookup(request: Request, caller: CallerHere) -> Response:
    """Return rows by key, as trackers need them: light, and what waits in the journal included."""
    gateway = gateway_of(request)
    return await gateway.work(_looked_up, gateway, caller, await request.body())


def _looked_up(gateway: Gateway, caller: Caller, body: bytes) -> Response:
    asked = parse(Lookup, body)
    table = LOOKED_UP.get(asked["table"])
    if table is None:
        raise QueryError(f"no table {asked['table']!r} to look into; known: {', '.join(LOOKED_UP)}")
    for name in asked.get("key", {}):
        if name not in table.names:
            raise QueryError(f"the table {table.name!r} has no column {name!r}")
    gateway.store.flush_records()
    rows = gateway.store.records.lookup(table, asked.get("key", {}))
    text = json.dumps({"rows": _permitted(gateway, caller, table.names, rows)})
    return Response(text.encode("utf-8", "surrogatepass"), media_type=JSON)


def _permitted(
    gateway: Gateway, caller: Caller, columns: tuple[str, ...], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the rows of projects that the caller may read."""
    only = caller.projects("read")
    if only is None:
        return rows
    if "project" in columns:
        return [row for row in rows if row["project"] in only]
    if "run_id" not in columns:
        return [row for row in rows if row["name"] in only]  # projects
    from mlrun.asking import visible_ids

    ids = list({row["run_id"] for row in rows})
    seen = set(visible_ids(caller.seen(gateway.store), ids))
    return [row for row in rows if row["run_id"] in seen]


@router.post(MARKS, response_model=Marks)
async def marks(request: Request, caller: CallerHere) -> Response:
    """Return how far each writer's records are stored."""
    gateway = gateway_of(request)
    caller.need("read", None)

    def work() -> Response:
        found = gateway.store.records.marks()
        text = json.dumps({"marks": {writer: list(mark) for writer, mark in found.items()}})
        return Response(text.encode(), media_type=JSON)

    return await gateway.work(work)
