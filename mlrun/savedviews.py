"""Views that people keep of a project: under a name, what a page of the dashboard showed, to be shown again.

`kind` says which page a view is of (`runs`, `sql`, …), `spec` is what that page makes of it, any JSON object. Views
belong to the project, not to whoever saved them: every editor may replace or delete one. Project "" is for all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.change import apply_now
from mlrun.errors import QueryError
from mlrun.ids import now_us
from mlrun.names import clean_text
from mlrun.tables import VIEWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.store import Store

__all__ = ["delete_view", "save_view", "saved_views"]

_MOST = 64_000  # characters of a spec
_SHOWN = ("name", "spec", "user", "updated_at")
_TIME = pl.Datetime("us", "UTC")
_SCHEMA: dict[str, Any] = {
    "name": pl.String, "spec": pl.String, "user": pl.String, "updated_at": _TIME,
}  # fmt: skip


def saved_views(store: Store, project: str, kind: str) -> pl.DataFrame:
    """Return the views of a kind that a project has: `name, spec` (JSON text), `user, updated_at`, by name."""
    if not store.exists():
        return pl.DataFrame(schema=_SCHEMA)
    key = {"project": clean_text(project)[0], "kind": kind}
    rows = [{c: row[c] for c in _SHOWN} for row in store.records.lookup(VIEWS, key)]
    told = {**_SCHEMA, "updated_at": pl.Int64}
    found = pl.DataFrame(rows, schema=told, orient="row")
    return found.with_columns(pl.col("updated_at").cast(_TIME)).sort("name")


def save_view(
    store: Store, project: str, kind: str, name: str, spec: Mapping[str, Any], user: str = ""
) -> None:
    """Keep a view under a name; one that had the name is replaced.

    Args:
        store: where.
        project: whose; "" for all projects.
        kind: which page it is of.
        name: any text but none.
        spec: what the page needs to show it again, as JSON can say it.
        user: who says so, to be shown; default whom a gateway takes the caller for.

    Raises:
        QueryError: the name is empty, or the spec is no JSON object or too long.
        AccessDenied: the caller is no editor of the project.
    """
    shown = _named(name)
    try:
        text = json.dumps(dict(spec))
    except (TypeError, ValueError) as error:
        raise QueryError(f"the view {shown!r} cannot be kept: {error}") from None
    if len(text) > _MOST:
        raise QueryError(
            f"the view {shown!r} has {len(text):,} characters; at most {_MOST:,} are kept"
        )
    row = {**_key(project, kind, shown), "spec": text, "user": user or _asking(store)}
    apply_now(store, [("put", VIEWS.name, {**row, "updated_at": now_us()})])


def delete_view(store: Store, project: str, kind: str, name: str) -> None:
    """Forget a view; nothing happens if there is none of that name.

    Raises:
        AccessDenied: the caller is no editor of the project.
    """
    apply_now(store, [("del", VIEWS.name, _key(project, kind, _named(name)))])


def _asking(store: Store) -> str | None:
    gateway = getattr(store, "gateway", None)
    return None if gateway is None else str(gateway.whoami()["user"])


def _named(name: str) -> str:
    shown = clean_text(name.strip())[0]
    if not shown:
        raise QueryError("a view needs a name")
    return shown


def _key(project: str, kind: str, name: str) -> dict[str, str]:
    return {"project": clean_text(project)[0], "kind": kind, "name": name}
