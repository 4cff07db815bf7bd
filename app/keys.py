"""Keys, users and roles, as they are stored: `mlr_<prefix>_<secret>`, of which only the SHA-256 is kept.

A secret has 256 random bits, so that a plain hash of it tells nothing. Nothing here needs a web server: the command
line makes the first key beside a store.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, NotFound, NotSignedIn
from mlrun.ids import now_us
from mlrun.tables import API_KEYS, ROLES, USERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlrun.contracts import Op, Records

__all__ = ["ACTIONS", "ROLE_ACTIONS", "Granted", "Keys"]

ACTIONS = ("read", "write", "admin")
ROLE_ACTIONS = {"viewer": ("read",), "editor": ("read", "write"), "admin": ACTIONS}
_FORM = re.compile(r"mlr_([0-9a-z]{10})_([\w-]{40,60})", re.ASCII)
_PREFIX = "0123456789abcdefghijklmnopqrstuvwxyz"
_NAME_BYTES = 200
_SHOWN = tuple(c for c in API_KEYS.names if c != "hash")


@dataclass(frozen=True)
class Granted:
    """What a good key gives.

    Attributes:
        name: `<user>/<prefix>`, for the audit log.
        user: whose it is.
        server: role on the whole server, or empty.
        roles: role by project.
        scopes: actions that it is good for.
        expires_at: microseconds since 1970, or None.
    """

    name: str
    user: str
    server: str
    roles: Mapping[str, str]
    scopes: frozenset[str]
    expires_at: int | None


class Keys:
    """The keys, users and roles of a store.

    Args:
        records: where they are.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    def any(self) -> bool:
        """Whether there is a key that is still good."""
        return any(_is_good(row) for row in self._records.lookup(API_KEYS, {}))

    def check(self, key: str) -> Granted:
        """Return what a key gives.

        Raises:
            NotSignedIn: it is not known, has expired, was revoked, or its user is disabled; which, is not told.
        """
        form = _FORM.fullmatch(key)
        prefix = form[1] if form else "0" * 10
        rows = self._records.lookup(API_KEYS, {"prefix": prefix})
        row = (
            rows[0] if rows else {"hash": "0" * 64, "user": "", "revoked_at": 1, "expires_at": None}
        )
        same = hmac.compare_digest(_hash(key).encode(), str(row["hash"]).encode())
        if not (same and rows and _is_good(row)):
            raise NotSignedIn(
                "the gateway does not know this key: `mlrun login URL`, or MLRUN_API_KEY"
            )
        return self._granted(row)

    def _granted(self, row: Mapping[str, Any]) -> Granted:
        user = str(row["user"])
        if any(u["disabled_at"] is not None for u in self._records.lookup(USERS, {"name": user})):
            raise NotSignedIn(f"the user {user!r} is disabled")
        server, roles = self.roles_of(user)
        if (
            only := row["project"]
        ) is not None:  # good for one project, at most as good as the user is there
            roles = {
                only: roles.get(only, "") if _rank(roles.get(only)) > _rank(server) else server
            }
            server = ""
        scopes = json.loads(row["scopes"]) if row["scopes"] else ACTIONS
        return Granted(
            name=f"{user}/{row['prefix']}",
            user=user,
            server=server,
            roles=roles,
            scopes=frozenset(scopes),
            expires_at=row["expires_at"],
        )

    def roles_of(self, user: str) -> tuple[str, dict[str, str]]:
        """Return a user's role on the server (empty if none) and by project."""
        rows = self._records.lookup(ROLES, {"user": user})
        roles = {str(row["project"]): str(row["role"]) for row in rows}
        return roles.pop("", ""), roles

    # -- changes ---------------------------------------------------------------------------------

    def create(
        self,
        user: str,
        *,
        name: str | None = None,
        scopes: Iterable[str] | None = None,
        project: str | None = None,
        expires_at: int | None = None,
        by: str = "",
        also: Callable[[dict[str, Any]], Iterable[Op]] = lambda row: (),
    ) -> tuple[str, dict[str, Any]]:
        """Make a key for a user and return it, and its row without the hash. The key is not shown again.

        Args:
            user: whose roles it has.
            name: what it is for.
            scopes: the only actions it is good for.
            project: the only project it is good for.
            expires_at: microseconds since 1970.
            by: who made it.
            also: returns ops for the same transaction, given the row.
        """
        prefix = "".join(secrets.choice(_PREFIX) for _ in range(10))
        key = f"mlr_{prefix}_{secrets.token_urlsafe(32)}"
        wanted = None if scopes is None else [_one_of(s, ACTIONS, "scope") for s in scopes]
        row = {
            "prefix": prefix,
            "hash": _hash(key),
            "user": _name(user),
            "name": None if name is None else _name(name),
            "scopes": None if wanted is None else json.dumps(sorted(set(wanted))),
            "project": project,
            "created_at": now_us(),
            "created_by": by,
            "expires_at": expires_at,
            "revoked_at": None,
        }
        ops: list[Op] = [("put", API_KEYS.name, row)]
        if not self._records.lookup(USERS, {"name": row["user"]}):
            ops.append(("put", USERS.name, {"name": row["user"], "created_at": now_us()}))
        shown = {c: row[c] for c in _SHOWN}
        self._records.apply([*ops, *also(shown)])
        return key, shown

    def every(self) -> list[dict[str, Any]]:
        """Return all keys, newest first, without their hashes."""
        rows = sorted(self._records.lookup(API_KEYS, {}), key=lambda r: -int(r["created_at"]))
        return [{c: row[c] for c in _SHOWN} for row in rows]

    def revoke(self, prefix: str, also: Iterable[Op] = ()) -> dict[str, Any]:
        """Make a key worthless, for good; return its row. NotFound if there is none."""
        rows = self._records.lookup(API_KEYS, {"prefix": prefix})
        if not rows:
            raise NotFound(f"no key {prefix!r}")
        row = {"prefix": prefix, "revoked_at": rows[0]["revoked_at"] or now_us()}
        self._records.apply([("put", API_KEYS.name, row), *also])
        return {c: rows[0][c] for c in _SHOWN} | row

    def set_role(
        self,
        user: str,
        project: str,
        role: str | None,
        also: Callable[[str | None], Iterable[Op]] = lambda before: (),
    ) -> str | None:
        """Give a user a role in a project (empty: on the server), or take it; return the role before.

        Args:
            user: who; made if there is none of that name.
            project: where.
            role: which; None takes it.
            also: returns ops for the same transaction, given the role before.
        """
        place = {"user": _name(user), "project": project}
        rows = self._records.lookup(ROLES, place)
        before = str(rows[0]["role"]) if rows else None
        ops: list[Op]
        if role is None:
            ops = [("del", ROLES.name, place)]
        else:
            named = _one_of(role, ROLE_ACTIONS, "role")
            ops = [("put", ROLES.name, {**place, "role": named, "updated_at": now_us()})]
            if not self._records.lookup(USERS, {"name": place["user"]}):
                ops.append(("put", USERS.name, {"name": place["user"], "created_at": now_us()}))
        self._records.apply([*ops, *also(before)])
        return before

    def users(self) -> list[dict[str, Any]]:
        """Return users with their roles, by name."""
        roles: dict[str, dict[str, str]] = {}
        for row in self._records.lookup(ROLES, {}):
            roles.setdefault(row["user"], {})[row["project"]] = row["role"]
        rows = sorted(self._records.lookup(USERS, {}), key=lambda r: str(r["name"]))
        return [{**row, "roles": roles.get(row["name"], {})} for row in rows]

    def set_disabled(self, user: str, disabled: bool, also: Iterable[Op] = ()) -> None:
        """Refuse all keys of a user, or let them be good again. NotFound if there is none of that name."""
        if not self._records.lookup(USERS, {"name": user}):
            raise NotFound(f"no user {user!r}")
        at = now_us()
        row = {"name": user, "disabled_at": at if disabled else None, "updated_at": at}
        self._records.apply([("put", USERS.name, row), *also])


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _is_good(row: Mapping[str, Any]) -> bool:
    expires = row["expires_at"]
    return row["revoked_at"] is None and (expires is None or int(expires) > now_us())


def _rank(role: str | None) -> int:
    return len(ROLE_ACTIONS.get(role or "", ()))


def _name(text: str) -> str:
    cleaned = text.strip()
    if not cleaned or len(cleaned.encode("utf-8", "replace")) > _NAME_BYTES or "\0" in cleaned:
        raise ConfigError("a name has 1 to 200 bytes")
    return cleaned


def _one_of(word: str, known: Iterable[str], what: str) -> str:
    if word not in known:
        raise ConfigError(f"no {what} {word!r}; known: {', '.join(known)}")
    return word
