"""What an admin asks of a gateway: keys, users, roles; and the audit log, of a gateway or of a store in a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl

import mlrun
from mlrun.wire import API, INFO, JSON

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["PAGE", "Desk", "audit_page"]

PAGE = 100  # changes of the audit log that are shown at once
_TIME = pl.Datetime("us", "UTC")
_KEYS: dict[str, Any] = {
    "prefix": pl.String, "user": pl.String, "name": pl.String, "project": pl.String, "scopes": pl.String,
    "created_at": pl.Int64, "created_by": pl.String, "expires_at": pl.Int64, "revoked_at": pl.Int64,
}  # fmt: skip


class Desk:
    """Keys and users of a gateway.

    Args:
        store: over a gateway; its key is what everything is asked with.
    """

    def __init__(self, store: Any) -> None:
        self._http = store.gateway.http

    def keys(self) -> pl.DataFrame:
        """Return all keys, newest first, without what would let anybody use them.

        Columns: `prefix, user, name, project, scopes, created_at, created_by, expires_at, revoked_at`.
        """
        rows = [{c: row.get(c) for c in _KEYS} for row in self._ask("GET", "keys")["keys"]]
        return _timed(pl.DataFrame(rows, schema=_KEYS))

    def make(
        self, user: str, name: str = "", scopes: list[str] | None = None, project: str = "", days: float = 0
    ) -> str:  # fmt: skip
        """Make a key and return it; it is told this once.

        Args:
            user: whose.
            name: what it is for.
            scopes: only these of read, write, admin; all if empty.
            project: good for this one only; empty for all.
            days: after which it expires; 0 for never.
        """
        told = {"user": user, "name": name, "scopes": scopes, "project": project, "days": days}
        made = self._ask("POST", "keys", {k: v for k, v in told.items() if v})
        return str(made["key"])

    def revoke(self, prefix: str) -> None:
        """Make a key worthless, for good."""
        self._ask("DELETE", f"keys/{quote(prefix, safe='')}")

    def users(self) -> pl.DataFrame:
        """Return users: `name, server` (role there), `roles` (JSON, by project), `created_at, disabled`."""
        rows = [
            {
                "name": row["name"], "server": row["roles"].get("") or None,
                "roles": json.dumps({k: v for k, v in row["roles"].items() if k}, ensure_ascii=False),
                "created_at": row["created_at"], "disabled": row["disabled_at"] is not None,
            }
            for row in self._ask("GET", "users")["users"]
        ]  # fmt: skip
        schema: dict[str, Any] = {
            "name": pl.String, "server": pl.String, "roles": pl.String, "created_at": pl.Int64, "disabled": pl.Boolean,
        }  # fmt: skip
        return _timed(pl.DataFrame(rows, schema=schema))

    def set_role(self, user: str, project: str, role: str | None) -> str | None:
        """Give a role, or take it with None; returns the one before."""
        told = {"user": user, "project": project, "role": role}
        before: str | None = self._ask("PUT", "roles", told)["before"]
        return before

    def set_disabled(self, user: str, disabled: bool) -> None:
        """Refuse all keys of a user, or let them be good again."""
        self._ask("PUT", "users/disabled", {"user": user, "disabled": disabled})

    def info(self) -> pl.DataFrame:
        """Return `name, value` of what the gateway tells of itself: version, uptime, limits."""
        found = json.loads(self._http.send("GET", INFO, again=True).body)
        limits = {f"limit: {k}": v for k, v in (found.pop("limits", None) or {}).items()}
        ports = {f"port: {k}": v for k, v in (found.pop("ports", None) or {}).items()}
        rows = [(str(k), str(v)) for k, v in {**found, **ports, **limits}.items()]
        return pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")

    def _ask(self, method: str, noun: str, body: Any = None) -> dict[str, Any]:
        text = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": JSON, "Accept": JSON}
        reply = self._http.send(method, f"{API}/{noun}", text, headers, again=method == "GET")
        found: dict[str, Any] = json.loads(reply.body)
        return found


def audit_page(
    store: Store, page: int = 0, *, actor: str = "", action: str = "", project: str = "", target: str = ""
) -> pl.DataFrame:  # fmt: skip
    """Return changes, the newest first: `time, actor, action, project, target, before, after, address, request_id`.

    Args:
        store: where.
        page: which, from 0.
        actor: who exactly.
        action: a beginning of it, such as `key.` or `run.update`.
        project: where exactly.
        target: a part of what was changed.

    Returns:
        At most one row more than `PAGE`: then there is another page.
    """
    from sqlglot import exp

    asked = exp.select(
        "time", "actor", "action", "project", "target", "before", "after", "address", "request_id"
    ).from_("audit")
    for column, value in (("actor", actor), ("project", project)):
        if value:
            asked = asked.where(
                exp.EQ(this=exp.column(column), expression=exp.Literal.string(value))
            )
    if action:
        begins = exp.func("starts_with", exp.column("action"), exp.Literal.string(action))
        asked = asked.where(begins)
    if target:
        holds = exp.func("strpos", exp.column("target"), exp.Literal.string(target))
        asked = asked.where(exp.GT(this=holds, expression=exp.Literal.number(0)))
    asked = asked.order_by("time desc", "request_id").limit(PAGE + 1).offset(page * PAGE)
    return mlrun.sql(asked.sql(dialect="duckdb"), store=store)


def _timed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("^.*_at$").cast(_TIME))
