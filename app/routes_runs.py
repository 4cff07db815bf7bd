"""Routes that read runs and what belongs to them, for people and other programs; pages of runs are cut by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from mlrun.errors import QueryError
from mlrun.wire import API, ARROW, EVENT_STREAM, EVENTS

from .answering import known_run
from .answers import answer, frame_answer, wants_arrow
from .problems import PROBLEMS
from .questions import SqlQuestion, parse
from .routes_ask import CallerHere, body_schema, gateway_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["router"]


class FramePage(BaseModel):
    """Rows of a frame; numbers that JSON lacks are the texts NaN, Infinity and -Infinity."""

    rows: list[dict[str, Any]]
    next: str | None = Field(description="Token of the next page, if there is one.")


class RunDocument(BaseModel):
    """All of one run but its points and lines."""

    run: dict[str, Any] = Field(description="Its row: run_id, name, project, state, times, …")
    params: dict[str, Any]
    results: dict[str, Any]
    summary: dict[str, Any] = Field(description="The last value of every metric.")
    tags: list[str]
    labels: dict[str, Any]


_FRAME: dict[str, Any] = {
    "description": "A frame.",
    "model": FramePage,
    "headers": {
        "Mlrun-Next-Page": {
            "description": "Token of the next page, if there is one.",
            "schema": {"type": "string"},
        },
        "ETag": {"schema": {"type": "string"}},
    },
    "content": {ARROW: {"schema": {"type": "string", "format": "binary"}}},
}
_SAME: dict[int | str, dict[str, Any]] = {
    304: {"description": "What the caller has is what would be sent."}
}
router = APIRouter(tags=["runs"], responses={**PROBLEMS, **_SAME})
Limit = Annotated[int, Query(ge=1, le=10_000, description="Rows of a page.")]
Ids = Annotated[list[str], Query(alias="run_id", min_length=1, max_length=1000)]
Names = Annotated[list[str] | None, Query()]


@router.get(f"{API}/runs", responses={200: _FRAME})
async def list_runs(
    request: Request,
    caller: CallerHere,
    project: str | None = None,
    where: Annotated[str | None, Query(examples=["metrics.acc > 0.9"])] = None,
    order_by: Names = None,
    columns: Names = None,
    limit: Limit = 100,
    page: Annotated[str | None, Query(description="Token that the page before gave.")] = None,
    children: bool = False,
    archived: bool = False,
    deleted: bool = False,
) -> Response:
    """Return runs, one row each, page by page; arguments as those of `mlrun.runs`."""
    asked = (project, where, order_by or ["-started_at"], children, archived, deleted)
    arrow = wants_arrow(request)
    return await answer(
        gateway_of(request), request, caller, "page", arrow, asked, columns, limit, page
    )


@router.get(f"{API}/runs/{{run_id}}", response_model=RunDocument)
async def get_run(request: Request, run_id: str, caller: CallerHere) -> Response:
    """Return one run, by its id, a unique beginning or end of it, or the newest of that name."""
    return await answer(gateway_of(request), request, caller, "document", run_id)


def _frame_route(path: str, noun: str, told: str) -> None:
    """Add a route for a frame of one run, by its id."""

    async def ask(request: Request, run_id: str, caller: CallerHere) -> Response:
        name = {"artifacts": "of", "logs": "run_id", "iterations": "run_id"}.get(noun, "run_ids")
        given = {name: run_id if noun == "iterations" else [run_id]}
        arrow = wants_arrow(request)
        return await answer(
            gateway_of(request), request, caller, "frame", arrow, noun, given, run_id
        )

    ask.__name__ = f"run_{path.replace('-', '_')}"
    ask.__doc__ = told
    router.add_api_route(
        f"{API}/runs/{{run_id}}/{path}", ask, methods=["GET"], responses={200: _FRAME}
    )


_frame_route("params", "params", "Return a run's parameters: run_id, key, value (JSON), type.")
_frame_route("artifacts", "artifacts", "Return the artifacts that a run made.")
_frame_route("logs", "logs", "Return what a run printed, oldest first.")
_frame_route("iterations", "iterations", "Return the iteration table of a hyperparameter job.")


async def _points(
    request: Request, caller: Any, run_ids: list[str], table: str, wanted: Wanted, x: str
) -> Response:
    gateway = gateway_of(request)
    given = {
        "table": table, "run_ids": run_ids, "keys": wanted.key, "points": wanted.points,
        "x": wanted.x or x, "start": _bound(wanted.start), "end": _bound(wanted.end),
        "method": wanted.method, "last": wanted.last,
    }  # fmt: skip
    most = gateway.options.max_rows * 100
    arrow = wants_arrow(request)
    return await answer(gateway, request, caller, "frame", arrow, "metrics", given, None, most)


def _bound(text: str | None) -> Any:
    """Read a bound: a whole number, a number, or a time in ISO 8601."""
    from datetime import datetime

    if text is None:
        return None
    for read in (int, float, datetime.fromisoformat):
        try:
            return read(text)
        except ValueError:
            continue
    raise QueryError(f"a bound is a number or a time in ISO 8601, not {text[:100]!r}")


Points = Annotated[int | None, Query(ge=1, le=100_000, description="At most so many of a series.")]
Axis = Annotated[
    str | None,
    Query(description="`step`, `time`, `relative` or `metrics.<key>`; of the machine, `time`."),
]
Bound = Annotated[str | None, Query(description="A number, or a time in ISO 8601; inclusive.")]


class PointArguments(NamedTuple):
    """Which points; as the arguments of `mlrun.metrics`."""

    key: list[str] | None
    points: int | None
    x: str | None
    start: str | None
    end: str | None
    method: str
    last: bool


async def point_arguments(
    key: Names = None,
    points: Points = None,
    x: Axis = None,
    start: Bound = None,
    end: Bound = None,
    method: str = "minmaxlttb",
    last: bool = False,
) -> PointArguments:
    """Return what a request asks for; a coroutine, because FastAPI calls everything else in a thread."""
    return PointArguments(key, points, x, start, end, method, last)


Wanted = Annotated[PointArguments, Depends(point_arguments)]


@router.get(f"{API}/runs/{{run_id}}/metrics", responses={200: _FRAME})
async def run_metrics(
    request: Request, run_id: str, caller: CallerHere, wanted: Wanted
) -> Response:
    """Return a run's points: run_id, key, step, time, value; arguments as those of `mlrun.metrics`."""
    return await _points(request, caller, [run_id], "metrics", wanted, "step")


@router.get(f"{API}/runs/{{run_id}}/system-metrics", responses={200: _FRAME})
async def run_system_metrics(
    request: Request, run_id: str, caller: CallerHere, wanted: Wanted
) -> Response:
    """Return what was measured of the machine while the run ran."""
    return await _points(request, caller, [run_id], "system_metrics", wanted, "time")


@router.get(f"{API}/metrics", responses={200: _FRAME})
async def metrics_of_runs(
    request: Request, caller: CallerHere, run_ids: Ids, wanted: Wanted
) -> Response:
    """Return points of several runs."""
    return await _points(request, caller, run_ids, "metrics", wanted, "step")


@router.get(f"{API}/params", responses={200: _FRAME})
async def params_of_runs(request: Request, caller: CallerHere, run_ids: Ids) -> Response:
    """Return the parameters of several runs."""
    given = {"run_ids": run_ids}
    arrow = wants_arrow(request)
    return await answer(gateway_of(request), request, caller, "frame", arrow, "params", given)


@router.get(f"{API}/artifacts", responses={200: _FRAME})
async def artifacts(request: Request, caller: CallerHere, project: str | None = None) -> Response:
    """Return the artifacts of a project, or of all: one row for every run and step that logged a version."""
    arrow = wants_arrow(request)
    given = {"of": project}
    return await answer(gateway_of(request), request, caller, "frame", arrow, "artifacts", given)


@router.get(f"{API}/projects", responses={200: _FRAME})
async def projects(request: Request, caller: CallerHere) -> Response:
    """Return one row per project, with its number of runs, of running ones, and its latest start."""
    arrow = wants_arrow(request)
    return await answer(gateway_of(request), request, caller, "frame", arrow, "projects", {})


@router.get(f"{API}/functions", responses={200: _FRAME})
async def functions(request: Request, caller: CallerHere, project: str | None = None) -> Response:
    """Return the stored versions of functions: project, name, hash, spec (JSON), created_at."""
    from mlrun.lookup.sight import as_frame
    from mlrun.tables import FUNCTIONS

    gateway = gateway_of(request)

    def work() -> pl.DataFrame:
        only = caller.projects("read")
        wanted = None if project is None else {project}
        if only is not None:
            wanted = set(only) if wanted is None else wanted & only
        where = None if wanted is None else {"project": sorted(wanted)}
        gateway.store.flush_records()
        with gateway.store.records.read() as view:
            return as_frame(view.scan(FUNCTIONS, where=where))

    return await frame_answer(gateway, request, work)


@router.post(f"{API}/sql", responses={200: _FRAME}, openapi_extra=body_schema(SqlQuestion))
async def sql(request: Request, caller: CallerHere) -> Response:
    """Answer one SELECT over the tables, of which only rows of the caller's projects are seen."""
    import polars as pl

    gateway = gateway_of(request)
    body = await request.body()

    def work() -> bytes:
        query = parse(SqlQuestion, body)["query"]
        return gateway.sql.run(query, caller.projects("read"), audits=caller.may("admin"))

    found = await gateway.query(work)
    return await frame_answer(gateway, request, lambda: pl.read_ipc_stream(found))


@router.get(
    f"{API}/runs/{{run_id}}/logs/events",
    response_class=StreamingResponse,
    responses={200: {"description": "Server-sent events.", "content": {EVENT_STREAM: {}}}},
)
async def follow_logs(request: Request, run_id: str, caller: CallerHere) -> StreamingResponse:
    """Stream what a run prints: `lines` of `[time, stream, line]`, from the first one, and `end`."""
    gateway = gateway_of(request)
    await gateway.work(known_run, caller.seen(gateway.store), run_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(gateway.live.lines(run_id), headers=headers, media_type=EVENT_STREAM)


@router.get(
    EVENTS,
    response_class=StreamingResponse,
    responses={200: {"description": "Server-sent events.", "content": {EVENT_STREAM: {}}}},
)
async def events(request: Request, run_id: str, caller: CallerHere) -> StreamingResponse:
    """Stream a live run's news: `state`, `points` (by key, of the series that grew), and `end`."""
    gateway = gateway_of(request)
    await gateway.work(known_run, caller.seen(gateway.store), run_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(gateway.live.events(run_id), headers=headers, media_type=EVENT_STREAM)
