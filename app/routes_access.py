"""Routes of keys, users, roles and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the annotation

from mlrun.ids import now_us
from mlrun.lookup.sight import as_frame
from mlrun.tables import AUDIT
from mlrun.wire import API

from .answers import frame_answer, json_answer
from .audit import audit_op
from .keys import ROLE_ACTIONS
from .problems import PROBLEMS
from .questions import parse
from .routes_ask import CallerHere, body_schema, gateway_of

if TYPE_CHECKING:
    from .auth import Caller
    from .gateway import Gateway

__all__ = ["router"]

router = APIRouter(tags=["access"], responses=PROBLEMS)
_MOST_DAYS = 3650


class Me(BaseModel):
    """Who the gateway takes the caller for."""

    name: str
    server: str
    roles: dict[str, str]
    scopes: list[str]


class NewKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)
    user: str
    name: str | None = None
    scopes: list[str] | None = Field(None, description="Only these of read, write, admin.")
    project: str | None = Field(None, description="Good for this project only.")
    days: float | None = Field(None, gt=0, le=_MOST_DAYS, description="After which it expires.")


class Key(BaseModel):
    """A key as it is stored, without its hash; times in microseconds since 1970."""

    prefix: str
    user: str
    name: str | None
    scopes: str | None
    project: str | None
    created_at: int
    created_by: str | None
    expires_at: int | None
    revoked_at: int | None


class MadeKey(Key):
    """A key that was just made."""

    key: str = Field(description="The key itself: it is shown this once.")


class KeyList(BaseModel):
    """All keys, newest first."""

    keys: list[Key]


class User(BaseModel):
    """A user; `roles` by project, empty for the whole server."""

    name: str
    subject: str | None
    created_at: int
    updated_at: int | None
    disabled_at: int | None
    roles: dict[str, str]


class UserList(BaseModel):
    """All users, by name."""

    users: list[User]


class SetRole(BaseModel):
    """A role of a user; `role` null takes it away."""

    model_config = ConfigDict(extra="forbid", strict=True)
    user: str
    project: str = Field("", description="Empty for the whole server.")
    role: str | None = Field(None, description=f"One of {', '.join(ROLE_ACTIONS)}.")


class SetDisabled(BaseModel):
    """Whether all keys of a user are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)
    user: str
    disabled: bool


class Changed(BaseModel):
    """What was there before."""

    before: Any = None


class AuditPage(BaseModel):
    """Changes, newest first."""

    rows: list[dict[str, Any]]
    next: None = None


@router.get(f"{API}/me", response_model=Me)
async def me(caller: CallerHere) -> Me:
    """Return who the caller is, and what they may do."""
    return Me(
        name=caller.name,
        server=caller.server,
        roles=dict(caller.roles),
        scopes=sorted(caller.scopes),
    )


@router.get(f"{API}/keys", response_model=KeyList)
async def list_keys(request: Request, caller: CallerHere) -> Response:
    """Return all keys, without what would let anybody use them."""
    gateway = gateway_of(request)
    caller.need("admin")
    return await json_answer(gateway, request, lambda: {"keys": gateway.auth.keys.every()})


@router.post(
    f"{API}/keys", response_model=MadeKey, status_code=201, openapi_extra=body_schema(NewKey)
)
async def make_key(request: Request, caller: CallerHere) -> Response:
    """Make a key. Nobody makes one that is good for more than their own."""
    gateway = gateway_of(request)
    caller.need("admin")
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(NewKey, body)
        days = asked.pop("days", None)
        if caller.scopes < {"read", "write", "admin"}:
            asked["scopes"] = sorted(caller.scopes & set(asked.get("scopes") or caller.scopes))
        until = None if days is None else now_us() + int(days * 86_400e6)
        key, row = gateway.auth.keys.create(
            **asked,
            expires_at=until,
            by=caller.name,
            also=lambda row: [audit_op(caller, "key.create", row["prefix"], after=row)],
        )
        gateway.auth.forget()
        return {**row, "key": key}

    return await json_answer(gateway, request, work, status=201)


@router.delete(f"{API}/keys/{{prefix}}", response_model=Key)
async def revoke_key(request: Request, prefix: str, caller: CallerHere) -> Response:
    """Revoke a key, for good."""
    gateway = gateway_of(request)
    caller.need("admin")

    def work() -> dict[str, Any]:
        row = gateway.auth.keys.revoke(prefix, [audit_op(caller, "key.revoke", prefix)])
        gateway.auth.forget()
        return row

    return await json_answer(gateway, request, work)


@router.get(f"{API}/users", response_model=UserList)
async def list_users(request: Request, caller: CallerHere) -> Response:
    """Return all users and their roles."""
    gateway = gateway_of(request)
    caller.need("admin")
    return await json_answer(gateway, request, lambda: {"users": gateway.auth.keys.users()})


@router.put(f"{API}/users/disabled", response_model=Changed, openapi_extra=body_schema(SetDisabled))
async def disable_user(request: Request, caller: CallerHere) -> Response:
    """Refuse all keys of a user, or let them be good again."""
    gateway = gateway_of(request)
    caller.need("admin")
    body = await request.body()

    def work() -> dict[str, Any]:
        asked = parse(SetDisabled, body)
        action = "user.disable" if asked["disabled"] else "user.enable"
        also = [audit_op(caller, action, asked["user"])]
        gateway.auth.keys.set_disabled(asked["user"], asked["disabled"], also)
        gateway.auth.forget()
        return {"before": not asked["disabled"]}

    return await json_answer(gateway, request, work)


@router.put(f"{API}/roles", response_model=Changed, openapi_extra=body_schema(SetRole))
async def set_role(request: Request, caller: CallerHere) -> Response:
    """Give a user a role, or take it; an admin of a project does so in it, an admin of the server everywhere."""
    gateway = gateway_of(request)
    body = await request.body()
    return await json_answer(gateway, request, lambda: _set_role(gateway, caller, body))


def _set_role(gateway: Gateway, caller: Caller, body: bytes) -> dict[str, Any]:
    asked = {"project": "", "role": None, **parse(SetRole, body)}
    project = asked["project"]
    caller.need("admin", project or None)
    before = gateway.auth.keys.set_role(
        asked["user"],
        project,
        asked["role"],
        lambda before: [
            audit_op(
                caller, "role.set", asked["user"], project=project or None,
                before=before, after=asked["role"],
            )
        ],
    )  # fmt: skip
    gateway.auth.forget()
    return {"before": before}


@router.get(f"{API}/audit", response_model=AuditPage)
async def audit(
    request: Request,
    caller: CallerHere,
    project: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> Response:
    """Return what was changed, newest first: of a project, or of the whole server."""
    gateway = gateway_of(request)
    caller.need("admin", project)

    def work() -> Any:
        import polars as pl

        where = None if project is None else {"project": [project]}
        with gateway.store.records.read() as view:
            frame = as_frame(view.scan(AUDIT, where=where))
        return frame.sort(pl.col("time"), pl.col("id"), descending=True).head(limit)

    return await frame_answer(gateway, request, work)
