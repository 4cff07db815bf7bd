"""Projects in the store: one row each, with the document in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError
from mlrun.ids import now_us
from mlrun.tables import PROJECTS

if TYPE_CHECKING:
    from mlrun.project.document import ProjectDocument
    from mlrun.project.project import Project
    from mlrun.store import Store

__all__ = ["save_document", "stored_document", "stored_project"]


def save_document(store: Store, document: ProjectDocument) -> None:
    """Write a project's row; it is durable when this returns.

    Raises:
        ConfigError: a value in it has no JSON form.
    """
    whole, name = document.to_dict(), document.metadata["name"]
    now = now_us()
    try:
        text = json.dumps(whole)
        labels = json.dumps(document.metadata.get("labels") or {})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"project {name!r} cannot be stored: {error}") from error
    row: dict[str, Any] = {
        "name": name, "description": document.text("description") or None, "labels": labels,
        "spec": text, "updated_at": now,
    }  # fmt: skip
    before = store.records.lookup(PROJECTS, {"name": name})
    if not before or before[0]["created_at"] is None:
        row["created_at"] = now
    store.records.apply([("put", PROJECTS.name, row)])


def stored_document(store: Store, name: str) -> dict[str, Any] | None:
    """Return the document of a project as it was saved; None if there is none."""
    if not store.exists():
        return None
    rows = store.records.lookup(PROJECTS, {"name": name})
    if not rows or not rows[0]["spec"]:
        return None
    found: dict[str, Any] = json.loads(rows[0]["spec"])
    return found


def stored_project(store: Store, name: str) -> Project | None:
    """Return a project as it was saved, in the working folder; None if there is none."""
    from mlrun.project.document import ProjectDocument
    from mlrun.project.project import Project

    found = stored_document(store, name)
    return None if found is None else Project(ProjectDocument(found), store=store)
