"""Routes that change what is stored: record ops of clients, edits of runs, aliases. Each is noted in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the annotation

from mlrun.change import delete_runs, update_run
from mlrun.content.naming import check_alias
from mlrun.errors import NotFound, QueryError
from mlrun.ids import now_us
from mlrun.lookup.opcheck import misfit, unfit_expectation
from mlrun.tables import ALIASES, ARTIFACTS, RUNS, TABLES
from mlrun.view import RunView
from mlrun.wire import API, APPLY

from .answers import json_answer
from .audit import audit_op
from .ingest_rights import Rights
from .problems import PROBLEMS
from .questions import LOOKED_UP, parse
from .routes_ask import CallerHere, body_schema, gateway_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.contracts import Op

    from .auth import Caller
    from .gateway import Gateway

__all__ = ["router"]

router = APIRouter(tags=["change"], responses=PROBLEMS)
_OPS = 10_000
_NOTED = 200  # changes of one request that are noted one by one


class Ops(BaseModel):
    """Record ops, see `mlrun.contracts.Op`: `[verb, table, row]`, applied in order in one transaction."""

    model_config = ConfigDict(extra="forbid", strict=True)
    ops: list[list[Any]] = Field(max_length=_OPS)


class Applied(BaseModel):
    """How many ops were applied."""

    applied: int


class RunEdit(BaseModel):
    """What people may change of a run; what is left out stays. A label of null is removed."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str | None = None
    notes: str | None = None
    add_tags: list[str] = []
    remove_tags: list[str] = []
    labels: dict[str, Any] | None = None


class RunFacts(BaseModel):
    """A run's row, times as ISO 8601."""

    run_id: str
    name: str | None
    project: str
    state: str


class DeleteRuns(BaseModel):
    """Which runs: `where` as in `mlrun.runs`, never empty."""

    model_config = ConfigDict(extra="forbid", strict=True)
    where: str
    project: str | None = None


class Deleted(BaseModel):
    """How many runs were deleted."""

    deleted: int


class Alias(BaseModel):
    """A name for a version of an artifact."""

    model_config = ConfigDict(extra="forbid", strict=True)
    project: str
    key: str
    alias: str
    version: int | None = Field(None, description="Null takes the name away.")


@router.post(APPLY, response_model=Applied, openapi_extra=body_schema(Ops))
async def apply_ops(request: Request, caller: CallerHere) -> Response:
    """Apply record ops behind everything that is pending, all or (409, if an "expect" op is not met) none."""
    gateway = gateway_of(request)
    body = await request.body()
    return await json_answer(gateway, request, lambda: _apply(gateway, caller, body))


def _apply(gateway: Gateway, caller: Caller, body: bytes) -> dict[str, Any]:
    ops: list[Op] = []
    rights = Rights(gateway.store.records)
    fresh: dict[str, str] = {}
    gateway.store.flush_records()
    for given in parse(Ops, body)["ops"]:
        if len(given) != 3 or not isinstance(given[1], str) or not isinstance(given[2], dict):
            raise QueryError("an op is [verb, table, row]")
        op: Any = tuple(given)
        if reason := _unfit(op):
            raise QueryError(f"an op does not fit: {reason}")
        rights.check_op(caller, op, fresh)
        ops.append(op)
    changes = [op for op in ops if op[0] != "expect"]
    notes = [_noted(gateway, caller, op) for op in changes[:_NOTED]]
    if len(changes) > _NOTED:
        notes.append(audit_op(caller, "records.apply", f"{len(changes) - _NOTED} more ops"))
    gateway.store.records.apply([*ops, *notes])
    gateway.live.touch([str(op[2].get("run_id")) for op in changes])
    return {"applied": len(ops)}


def _unfit(op: Op) -> str:
    verb, name, row = op
    table = LOOKED_UP.get(name)
    return unfit_expectation(row, table) if verb == "expect" and table is not None else misfit(op)


def _noted(gateway: Gateway, caller: Caller, op: Op) -> Op:
    """Return the note of one op: of the row that it changes, the columns that it names."""
    verb, name, row = op
    table = ARTIFACTS if verb == "artifact" else TABLES[name]
    place = {c: row[c] for c in table.key if c in row}
    found = gateway.store.records.lookup(table, place) if place and verb != "artifact" else []
    before = {c: found[0].get(c) for c in row} if found else None
    return audit_op(
        caller,
        f"{table.name}.{verb}",
        "/".join(str(v) for v in place.values()),
        project=row.get("project") or (found[0].get("project") if found else None),
        before=before,
        after=None if verb == "del" else row,
    )


# -- runs -----------------------------------------------------------------------------------------


def _change(
    gateway: Gateway, caller: Caller, run_id: str, action: str, edit: Callable[[RunView], Any]
) -> dict[str, Any]:
    """Change one run, note it, and return its row as it is then; called in a thread."""
    view = RunView(caller.seen(gateway.store), run_id)
    caller.need("write", view.project)
    mine = RunView(gateway.store, run_id)
    before = {**mine.record, "tags": mine.tags}
    edit(mine)
    after = {**mine.refresh().record, "tags": mine.tags}
    changed = [c for c in after if before.get(c) != after[c] and c != "updated_at"]
    note = audit_op(
        caller, action, run_id, project=view.project,
        before={c: before.get(c) for c in changed}, after={c: after[c] for c in changed},
    )  # fmt: skip
    gateway.store.records.apply([note])
    gateway.live.touch([run_id])
    return {c: after[c] for c in RUNS.visible}


async def _simple(
    request: Request, caller: Caller, run_id: str, action: str, edit: Callable[[RunView], Any]
) -> Response:
    """Answer a request that changes one run and says nothing else."""
    gateway = gateway_of(request)
    return await json_answer(
        gateway, request, lambda: _change(gateway, caller, run_id, action, edit)
    )


@router.patch(f"{API}/runs/{{run_id}}", response_model=RunFacts, openapi_extra=body_schema(RunEdit))
async def edit_run(request: Request, run_id: str, caller: CallerHere) -> Response:
    """Change a run's name, notes, tags or labels."""
    gateway = gateway_of(request)
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(RunEdit, body)

        def edit(view: RunView) -> None:
            update_run(gateway.store, run_id, known_labels=view.labels, **asked)

        return _change(gateway, caller, run_id, "run.update", edit)

    return await json_answer(gateway, request, work)


@router.post(f"{API}/runs/{{run_id}}/archive", response_model=RunFacts)
async def archive_run(request: Request, run_id: str, caller: CallerHere) -> Response:
    """Hide a run from lists."""
    return await _simple(request, caller, run_id, "run.archive", RunView.archive)


@router.post(f"{API}/runs/{{run_id}}/restore", response_model=RunFacts)
async def restore_run(request: Request, run_id: str, caller: CallerHere) -> Response:
    """Undo archiving or deleting."""
    return await _simple(request, caller, run_id, "run.restore", RunView.restore)


@router.delete(f"{API}/runs/{{run_id}}", response_model=RunFacts)
async def delete_run(request: Request, run_id: str, caller: CallerHere) -> Response:
    """Delete a run that has ended, softly: `restore` brings it back for 30 days."""
    return await _simple(request, caller, run_id, "run.delete", RunView.delete)


@router.post(f"{API}/runs/delete", response_model=Deleted, openapi_extra=body_schema(DeleteRuns))
async def delete_many(request: Request, caller: CallerHere) -> Response:
    """Delete the runs that `where` means, of the projects that the caller may write to, softly."""
    gateway = gateway_of(request)
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(DeleteRuns, body)
        project = asked.get("project")
        if project is not None:
            caller.need("write", project)
        count = delete_runs(caller.changes(gateway.store), asked["where"], project)
        note = audit_op(caller, "runs.delete", asked["where"], project=project, after=count)
        gateway.store.records.apply([note])
        return {"deleted": count}

    return await json_answer(gateway, request, work)


@router.put(f"{API}/aliases", response_model=Applied, openapi_extra=body_schema(Alias))
async def set_alias(request: Request, caller: CallerHere) -> Response:
    """Let a name point at a version of an artifact; it leaves the version that had it."""
    gateway = gateway_of(request)
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(Alias, body)
        caller.need("write", asked["project"])
        place = {"project": asked["project"], "key": asked["key"]}
        row = {**place, "alias": check_alias(asked["alias"])}
        version = asked.get("version")
        gateway.store.flush_records()
        records = gateway.store.records
        if version is not None and not records.lookup(ARTIFACTS, {**place, "version": version}):
            raise NotFound(f"no version {version} of {asked['key']!r}")
        found = records.lookup(ALIASES, row)
        op: Op = ("del", ALIASES.name, row)
        if version is not None:
            op = ("put", ALIASES.name, {**row, "version": version, "updated_at": now_us()})
        note = audit_op(
            caller, "alias.set", f"{asked['key']}:{asked['alias']}", project=asked["project"],
            before=found[0]["version"] if found else None, after=version,
        )  # fmt: skip
        records.apply([op, note])
        return {"applied": 1}

    return await json_answer(gateway, request, work)
