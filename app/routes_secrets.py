"""Routes of secrets of projects: set, named and forgotten by editors, handed out to runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from mlrun.view import RunView
from mlrun.wire import DELETE_SECRET, JSON, RUN_SECRETS, SECRETS

from .answers import json_answer
from .audit import audit_op
from .problems import PROBLEMS
from .projectsecrets import ProjectSecrets
from .questions import parse
from .routes_ask import CallerHere, body_schema, gateway_of

if TYPE_CHECKING:
    from .auth import Caller
    from .gateway import Gateway

__all__ = ["router"]

router = APIRouter(tags=["secrets"], responses=PROBLEMS)
_MOST = 100


class SetSecrets(BaseModel):
    """Secrets by name; those of other names stay."""

    model_config = ConfigDict(extra="forbid", strict=True)
    project: str
    secrets: dict[str, str] = Field(max_length=_MOST)


class DeleteSecret(BaseModel):
    """Which secret to forget."""

    model_config = ConfigDict(extra="forbid", strict=True)
    project: str
    name: str


class Secret(BaseModel):
    """That there is a secret, never what it is; the time in microseconds since 1970."""

    project: str
    name: str
    key_id: str = Field(description="Which key encrypts it.")
    user: str | None
    updated_at: int | None


class SecretList(BaseModel):
    """Secrets of a project, by name."""

    secrets: list[Secret]


class AskSecrets(BaseModel):
    """Names of secrets that a run needs."""

    model_config = ConfigDict(extra="forbid", strict=True)
    run_id: str
    names: list[str] = Field(max_length=_MOST)


class Secrets(BaseModel):
    """Secrets in clear, by name."""

    secrets: dict[str, str]


@router.get(SECRETS, response_model=SecretList)
async def list_secrets(request: Request, project: str, caller: CallerHere) -> Response:
    """Return which secrets a project has; never what they are."""
    gateway = gateway_of(request)
    caller.need("write", project)
    desk = ProjectSecrets(gateway.store.records)
    return await json_answer(gateway, request, lambda: {"secrets": desk.names(project)})


@router.put(SECRETS, response_model=SecretList, openapi_extra=body_schema(SetSecrets))
async def set_secrets(request: Request, caller: CallerHere) -> Response:
    """Encrypt and store secrets of a project; nobody reads them again but its runs."""
    gateway = gateway_of(request)
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(SetSecrets, body)
        project, given = asked["project"], asked["secrets"]
        caller.need("write", project)
        notes = [audit_op(caller, "secret.set", name, project=project) for name in given]
        desk = ProjectSecrets(gateway.store.records)
        desk.set(project, given, user=caller.name, also=notes)
        return {"secrets": desk.names(project)}

    return await json_answer(gateway, request, work)


@router.post(DELETE_SECRET, response_model=SecretList, openapi_extra=body_schema(DeleteSecret))
async def delete_secret(request: Request, caller: CallerHere) -> Response:
    """Forget a secret."""
    gateway = gateway_of(request)
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(DeleteSecret, body)
        project, name = asked["project"], asked["name"]
        caller.need("write", project)
        desk = ProjectSecrets(gateway.store.records)
        desk.delete(project, name, [audit_op(caller, "secret.delete", name, project=project)])
        return {"secrets": desk.names(project)}

    return await json_answer(gateway, request, work)


@router.post(RUN_SECRETS, response_model=Secrets, openapi_extra=body_schema(AskSecrets))
async def read_secrets(request: Request, caller: CallerHere) -> Response:
    """Hand secrets of its project to a run; the caller must be one who may write there, and each is noted."""
    gateway = gateway_of(request)
    body = await request.body()
    return await gateway.work(_handed, gateway, caller, body)


def _handed(gateway: Gateway, caller: Caller, body: bytes) -> Response:
    asked = parse(AskSecrets, body)
    names = asked["names"]
    view = RunView(caller.seen(gateway.store), asked["run_id"])
    caller.need("write", view.project)
    notes = [
        audit_op(caller, "secret.read", name, project=view.project, after={"run_id": view.id})
        for name in names
    ]
    found = ProjectSecrets(gateway.store.records).read(view.project, names, notes)
    text = json.dumps({"secrets": found})
    return Response(text.encode(), media_type=JSON, headers={"Cache-Control": "no-store"})
