"""Routes of policies: for how long projects keep what, and how much they may write."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the annotation

from mlrun.care.retention import COLUMNS, policies, set_policy
from mlrun.tables import POLICIES
from mlrun.wire import POLICY

from .answers import json_answer
from .audit import audit_op
from .problems import PROBLEMS
from .questions import parse
from .routes_ask import CallerHere, body_schema, gateway_of

__all__ = ["router"]

router = APIRouter(tags=["policies"], responses=PROBLEMS)


class SetPolicy(BaseModel):
    """A policy; what is left out stays, null unsets."""

    model_config = ConfigDict(extra="forbid", strict=True)
    project: str
    raw_days: int | None = None
    rollup_days: int | None = None
    deleted_days: int | None = None
    max_metric_keys: int | None = None
    points_per_second: int | None = None


class Policy(SetPolicy):
    """What a project says for itself."""

    model_config = ConfigDict(extra="ignore")


class PolicyList(BaseModel):
    """Policies of the projects that the caller may read, by project."""

    policies: list[Policy]


@router.get(POLICY, response_model=PolicyList)
async def list_policies(request: Request, caller: CallerHere) -> Response:
    """Return what projects say for themselves."""
    gateway = gateway_of(request)

    def work() -> dict[str, Any]:
        only = caller.projects("read")
        rows = policies(gateway.store).to_dicts()
        return {"policies": [row for row in rows if only is None or row["project"] in only]}

    return await json_answer(gateway, request, work)


@router.put(POLICY, response_model=Policy, openapi_extra=body_schema(SetPolicy))
async def change_policy(request: Request, caller: CallerHere) -> Response:
    """Set a project's policy: for its admins."""
    gateway = gateway_of(request)
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(SetPolicy, body)
        project = asked.pop("project")
        caller.need("admin", project)
        records = gateway.store.records
        found = records.lookup(POLICIES, {"project": project})
        before = {c: found[0][c] for c in COLUMNS} if found else None
        set_policy(gateway.store, project, **asked)
        records.apply(
            [audit_op(caller, "policy.set", project, project=project, before=before, after=asked)]
        )
        return {**(before or dict.fromkeys(COLUMNS)), **asked, "project": project}

    return await json_answer(gateway, request, work)
