"""Steps that need not run: an earlier run of the same step is taken instead, and the workflow says which."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.ids import now_us, uuid7
from mlrun.tables import LINEAGE, RESULTS
from mlrun.tracking.values import encode

if TYPE_CHECKING:
    from mlrun.contracts import Op
    from mlrun.store import Store
    from mlrun.tracking.run import Run
    from mlrun.view import RunView

__all__ = ["Reuse"]


class Reuse:
    """Finds completed runs of the same step.

    Args:
        store: where they are.
        project: whose.
        resumed: id of a workflow that is gone on with: its completed steps are taken whether or not they are cached.
    """

    def __init__(self, store: Store, project: str, resumed: str | None = None) -> None:
        self._store = store
        self._project = project
        self._done = self._completed_steps(resumed) if resumed else {}

    def find(self, name: str, key: str, *, cached: bool) -> str | None:
        """Return the id of a completed run that did the same, or None.

        Args:
            name: the step's.
            key: see `cache_key`.
            cached: also look at all earlier steps of the project, the newest first.
        """
        if found := self._done.get((name, key)):
            return found
        if not cached:
            return None
        from mlrun.query import runs

        where = (
            f"labels.\"mlrun/cache-key\" = '{key}' and state = 'completed' and parent is not null"
        )
        rows = runs(
            self._store, self._project, where=where, limit=1, columns=["run_id"], children=True
        )
        return rows["run_id"][0] if rows.height else None

    def take(self, run: Run, name: str, found: str, key: str) -> RunView:
        """Record that a step was skipped because `found` did the same; returns the view of what stands for it."""
        from mlrun.view import get_run

        earlier = get_run(self._store, found)
        run_id = self._note(
            run,
            name,
            {"mlrun/step": name, "mlrun/cache-key": key, "mlrun/cached-from": found},
            None,
        )
        ops: list[Op] = []
        for result, value in earlier.results.items():
            text, kind, _ = encode(value)
            row = {"run_id": run_id, "key": result, "value": text, "type": kind}
            ops.append(("put", RESULTS.name, row))
        stamp = {"run_id": run_id, "role": "output", "step": 0, "time": now_us()}
        made = earlier.artifacts().select("project", "key", "version").iter_rows(named=True)
        ops += [("put", LINEAGE.name, {**row, **stamp}) for row in made]
        if ops:
            self._store.records.apply(ops)
        return get_run(self._store, run_id)

    def note_skipped(self, run: Run, name: str, why: str) -> RunView:
        """Record that a step was skipped, and why."""
        from mlrun.view import get_run

        return get_run(self._store, self._note(run, name, {"mlrun/step": name}, why))

    def _note(self, run: Run, name: str, labels: dict[str, str], why: str | None) -> str:
        from mlrun.tracking.runops import RunRow

        row = RunRow(uuid7(), run.project, name)
        for key, value in labels.items():
            row.set_label(key, value)
        stamp = now_us()
        columns = {
            "state": "skipped", "kind": "step", "parent": run.id, "error": why,
            "started_at": stamp, "finished_at": stamp,
        }  # fmt: skip
        self._store.records.apply(row.ops(columns, stamp))
        return row.id

    def _completed_steps(self, workflow: str) -> dict[tuple[str, str], str]:
        """Return the completed steps of a workflow: (name, key) -> run id; of those taken over, the original's."""
        from mlrun.hyper.table import children_of

        found: dict[tuple[str, str], str] = {}
        for row in children_of(self._store, workflow):
            labels: dict[str, Any] = json.loads(row["labels"] or "{}")
            name, key = labels.get("mlrun/step"), labels.get("mlrun/cache-key")
            if not name or not key:
                continue
            if row["state"] == "completed":
                found[name, key] = row["run_id"]
            elif labels.get("mlrun/cached-from"):
                found[name, key] = labels["mlrun/cached-from"]
        return found
