"""Routes about the gateway itself. Only `/healthz` and `/readyz` are open."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

import mlrun
from mlrun.wire import API, INFO, PROTOCOL

from .answers import json_answer
from .problems import PROBLEMS, plain_problem
from .routes_ask import CallerHere, gateway_of

__all__ = ["Info", "router"]

router = APIRouter(tags=["gateway"])


class Info(BaseModel):
    """What a client needs to know of a gateway."""

    version: str
    protocol: int = Field(description="Of the wire; a client of a higher one is too new.")
    ports: dict[str, int] = Field(description="By name: http, flight.")
    limits: dict[str, float]
    caller: str = Field(description="Who the gateway takes the caller for.")
    uptime: float = Field(description="Seconds.")


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """Say that the process runs."""
    return "ok"


@router.get(
    "/readyz",
    response_class=PlainTextResponse,
    responses={503: PROBLEMS[503]},
)
async def readyz(request: Request) -> Response:
    """Say whether it can serve: the store answers, and it is not about to stop."""
    gateway = gateway_of(request)
    reason = "it is stopping" if gateway.draining else await gateway.work(gateway.not_ready)
    if reason:
        response = plain_problem(503, f"not ready: {reason}", "StoreBusy")
        response.headers["Retry-After"] = "1"
        return response
    return PlainTextResponse("ready")


@router.get("/metrics", response_class=PlainTextResponse, responses=PROBLEMS)
async def metrics(request: Request, caller: CallerHere) -> Response:
    """Return what the gateway counts, for Prometheus."""
    text = gateway_of(request).figures.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(f"{API}/openapi.json", responses=PROBLEMS)
async def openapi(request: Request, caller: CallerHere) -> Response:
    """Return the description of all routes, in OpenAPI 3.1."""
    gateway = gateway_of(request)
    return await json_answer(gateway, request, request.app.openapi)


@router.get(INFO, response_model=Info, responses=PROBLEMS)
async def info(request: Request, caller: CallerHere) -> Info:
    """Return version, protocol, limits and ports."""
    gateway = gateway_of(request)
    options = gateway.options
    limits = {
        "max_body": options.max_body,
        "max_rows": options.max_rows,
        "sql_seconds": options.sql_seconds,
        "sql_rows": options.sql_rows,
        "requests_per_second": options.requests_per_second,
        "points_per_second": options.points_per_second,
        "max_metric_keys": options.max_metric_keys,
    }
    return Info(
        version=mlrun.__version__,
        protocol=PROTOCOL,
        ports=gateway.ports,
        limits=limits,
        caller=caller.name,
        uptime=round(time.time() - gateway.started_at, 3),
    )
