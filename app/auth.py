"""Who is calling, and what they may do.

Every route takes a `Caller` (`caller_of`), asks it `need(action, project)` before it changes anything, and asks the
store through `caller.seen(store)`, which shows only the caller's projects. Three actions: `read`, `write` (log runs,
change and delete them), `admin` (keys and roles). Roles: a viewer reads, an editor writes too, an admin administers
too; of one project, or of the whole server.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fastapi import Request  # noqa: TC002 - FastAPI reads the annotation

from mlrun.errors import AccessDenied, NotSignedIn
from mlrun.ids import now_us
from mlrun.lookup.restricted import ProjectsOnly

from .keys import ACTIONS, ROLE_ACTIONS, Keys
from .oidc import Oidc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.store import Store

    from .gateway import Gateway

__all__ = ["Auth", "Caller", "caller_of", "token_in"]

_CACHED = 10_000
_FRESH_SECONDS = (
    5.0  # after which a key that was revoked by another gateway process is refused here too
)


@dataclass(frozen=True)
class Caller:
    """Somebody who has proved who they are.

    Attributes:
        name: for the audit log: `local`, `key:<user>/<prefix>`, `oidc:<user>`.
        server: role for every project, or empty.
        roles: role by project.
        scopes: actions that the key is good for, whatever the role.
        address: where the request came from.
        at: the URL by which the gateway was called.
        expires_at: when what they proved it with is no longer good, in microseconds since 1970.
    """

    name: str
    server: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset(ACTIONS)
    address: str = ""
    at: str = ""
    expires_at: int | None = None

    def may(self, action: str, project: str | None = None) -> bool:
        """Whether the caller may do that in a project; None means on the whole server."""
        if action not in self.scopes:
            return False
        if action in ROLE_ACTIONS.get(self.server, ()):
            return True
        return project is not None and action in ROLE_ACTIONS.get(self.roles.get(project, ""), ())

    def need(self, action: str, project: str | None = None) -> None:
        """Refuse unless `may`.

        Raises:
            AccessDenied: says what is missing.
        """
        if not self.may(action, project):
            where = "on this server" if project is None else f"in project {project!r}"
            raise AccessDenied(f"{self.name} may not {action} {where}")

    def projects(self, action: str) -> frozenset[str] | None:
        """Return the projects in which the caller may do that; None for all."""
        if self.may(action):
            return None
        return frozenset(project for project in self.roles if self.may(action, project))

    def changes(self, store: Store) -> Any:
        """Return the store with only the projects that this caller may write to."""
        return ProjectsOnly(store, self.projects("write"), self.at)

    def seen(self, store: Store) -> Any:
        """Return the store as this caller sees it."""
        return ProjectsOnly(store, self.projects("read"), self.at)


class Auth:
    """Tells callers from strangers.

    Args:
        gateway: whose store holds the keys.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._cache: dict[bytes, tuple[float, Caller]] = {}
        self._oidc = Oidc(gateway.options) if gateway.options.oidc_issuer else None
        self.local_token = ""  # set at the start of a gateway that has no key yet

    @property
    def keys(self) -> Keys:
        """The keys of the store."""
        return Keys(self._gateway.store.records)

    async def known(self, token: str | None, address: str = "") -> Caller:
        """Return who has this token, as `caller` does; what was told a moment ago is told again without a question."""
        if not token or (self.local_token and _same(self.local_token, token)):
            return self.caller(token, address)
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        until, found = self._cache.get(digest, (0.0, None))
        if found is None or until < time.monotonic():
            found = await self._gateway.work(self.caller, token)
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            left = _FRESH_SECONDS
            if found.expires_at is not None:
                left = min(left, (found.expires_at - now_us()) / 1e6)
            self._cache[digest] = (time.monotonic() + left, found)
        return replace(found, address=address)

    def has_keys(self) -> bool:
        """Whether somebody can be known who is not a program of this user; asks the store."""
        return self._oidc is not None or self.keys.any()

    def forget(self) -> None:
        """Ask the store anew for everybody: keys or roles have changed."""
        self._cache.clear()

    def caller(self, token: str | None, address: str = "") -> Caller:
        """Return who has this token; may ask the store, so it is called in a thread.

        Raises:
            NotSignedIn: nobody has, or it is no longer good.
        """
        if not token:
            raise NotSignedIn("this gateway asks for a key: `mlrun login URL`, or MLRUN_API_KEY")
        if self.local_token and _same(self.local_token, token):
            return Caller("local", server="admin", address=address)
        if self._oidc is not None and token.count(".") == 2:
            user, until = self._oidc.user_of(token)
            server, roles = self.keys.roles_of(user)
            return Caller(f"oidc:{user}", server, roles, address=address, expires_at=until)
        found = self.keys.check(token)
        return Caller(
            f"key:{found.name}", found.server, found.roles, found.scopes, address,
            expires_at=found.expires_at,
        )  # fmt: skip


def _same(known: str, given: str) -> bool:
    return hmac.compare_digest(
        known.encode("utf-8", "surrogateescape"), given.encode("utf-8", "surrogateescape")
    )


def token_in(headers: Mapping[str, str]) -> str | None:
    """Return the bearer token of a request."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


async def caller_of(request: Request) -> Caller:
    """Return who sent the request; every route but the health checks depends on it."""
    gateway: Gateway = request.app.state.gateway
    address = request.client.host if request.client else ""
    caller = await gateway.auth.known(token_in(request.headers), address)
    gateway.limits.take("requests", caller.name, 1, gateway.options.requests_per_second)
    caller = replace(caller, at=str(request.base_url).rstrip("/"))
    request.state.caller = caller
    return caller
