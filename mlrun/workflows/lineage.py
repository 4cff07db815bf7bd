"""Which workflow a run belongs to, and whether what it made may be unpickled by the workflow's other steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.tables import LINEAGE, RUNS

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem
    from mlrun.store import Store
    from mlrun.tracking.run import Run

__all__ = [
    "CACHED_FROM", "CACHE_KEY", "STEP_LABEL", "WORKFLOW", "is_made_by_own_workflow", "workflow_row",
]  # fmt: skip

WORKFLOW = "workflow"  # kind of a workflow's run
STEP_LABEL = "mlrun/step"
CACHE_KEY = "mlrun/cache-key"
CACHED_FROM = "mlrun/cached-from"

_LEVELS = 3  # a step; an attempt or iteration of it; an iteration of an attempt


def workflow_row(store: Store, run_id: str | None) -> dict[str, Any] | None:
    """Return the row of the nearest workflow among a run and those above it, or None."""
    for _ in range(_LEVELS + 1):
        rows = store.records.lookup(RUNS, {"run_id": run_id}) if run_id else []
        if not rows:
            return None
        if rows[0]["kind"] == WORKFLOW:
            found: dict[str, Any] = rows[0]
            return found
        run_id = rows[0]["parent"]
    return None


def is_made_by_own_workflow(run: Run, item: DataItem) -> bool:
    """Whether an artifact was made by a step of the workflow that `run` is a step of; then its pickle is trusted.

    What stands for a step that was not run (cached, resumed) counts if it was made by an earlier run of the same
    workflow, by project and name; what another workflow made does not.
    """
    store = run.store
    if store is None or run.task is None or not item.uri.startswith("store://"):
        return False
    own = workflow_row(store, run.task.parent)
    if own is None:
        return False
    place = {"project": item.project, "key": item.key, "version": item.version}
    makers = store.records.lookup(LINEAGE, {**place, "role": "output"})
    return any(_is_of(store, m["run_id"], own) for m in makers)


def _is_of(store: Store, run_id: str, own: dict[str, Any]) -> bool:
    rows = store.records.lookup(RUNS, {"run_id": run_id})
    if not rows:
        return False
    original = json.loads(rows[0]["labels"] or "{}").get(CACHED_FROM)
    made_in = workflow_row(store, str(original) if original else rows[0]["parent"])
    if made_in is None:
        return False
    if not original:
        return bool(made_in["run_id"] == own["run_id"])
    return all(made_in[c] == own[c] for c in ("project", "name"))
