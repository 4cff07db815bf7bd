"""Steps that need not run: an earlier run of the same step is taken instead, and the workflow says which."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.errors import StoreError
from mlrun.ids import now_us, uuid7
from mlrun.tables import ARTIFACTS, LINEAGE, PARAMS, RESULTS, RUNS
from mlrun.tracking.runops import RunRow
from mlrun.tracking.values import encode
from mlrun.workflows.lineage import CACHE_KEY, CACHED_FROM, STEP_LABEL, WORKFLOW, workflow_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.contracts import Op
    from mlrun.store import Store
    from mlrun.tracking.run import Run
    from mlrun.view import RunView

__all__ = ["Reuse", "completed_steps"]

_LOOKED_AT = 20  # completed runs that carry the key


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
        self._done = completed_steps(store, resumed) if resumed else {}

    def find(self, name: str, key: str, *, cached: bool) -> str | None:
        """Return the id of a completed run that did the same, and whose artifacts are there; or None.

        Args:
            name: the step's.
            key: see `cache_key`.
            cached: also look at all earlier steps of the project, the newest first.
        """
        if (found := self._done.get((name, key))) and self._is_whole(found):
            return found
        if not cached:
            return None
        from mlrun.query import runs

        with suppress(StoreError):  # what another process ended just now counts, if it can be had
            self._store.flush_records()
        where = (
            f"labels.\"mlrun/cache-key\" = '{key}' and state = 'completed' and parent is not null "
            "and iteration is null"
        )
        rows = runs(
            self._store, self._project, where=where, limit=_LOOKED_AT, columns=["run_id", "parent"],
            children=True,
        )  # fmt: skip
        for run_id, parent in rows.select("run_id", "parent").iter_rows():
            # attempts and iterations carry the labels of their parents, and are no steps
            if workflow_row(self._store, parent) is not None and self._is_whole(run_id):
                return str(run_id)
        return None

    def _is_whole(self, run_id: str) -> bool:
        """Whether all artifacts that a run made are still there."""
        made = self._store.records.lookup(LINEAGE, {"run_id": run_id, "role": "output"})
        rows = (
            self._store.records.lookup(ARTIFACTS, {c: m[c] for c in ("project", "key", "version")})
            for m in made
        )
        return all(found and found[0]["deleted_at"] is None for found in rows)

    def take(self, run: Run, name: str, found: str, key: str) -> RunView:
        """Record that a step was skipped because `found` did the same; returns the view of what stands for it."""
        from mlrun.view import get_run

        earlier = get_run(self._store, found)
        labels = {STEP_LABEL: name, CACHE_KEY: key, CACHED_FROM: found}
        view = self.note(run, name, "skipped", None, labels)
        ops: list[Op] = []
        for table, values in ((PARAMS, earlier.params), (RESULTS, earlier.results)):
            for each, value in values.items():
                text, kind, _ = encode(value)
                row = {"run_id": view.id, "key": each, "value": text, "type": kind}
                ops.append(("put", table.name, row))
        stamp = {"run_id": view.id, "role": "output", "step": 0, "time": now_us()}
        made = earlier.artifacts().select("project", "key", "version").iter_rows(named=True)
        ops += [("put", LINEAGE.name, {**row, **stamp}) for row in made]
        if ops:
            self._store.records.apply(ops)
        return view.refresh()

    def note(
        self, run: Run, name: str, state: str, why: str | None, labels: Mapping[str, str]
    ) -> RunView:
        """Record a step that nobody performs: skipped, or failed before it began."""
        from mlrun.view import RunView

        row = RunRow(uuid7(), run.project, name)
        for key, value in labels.items():
            row.set_label(key, value)
        stamp = now_us()
        columns = {
            "state": state, "kind": "step", "parent": run.id, "error": why, "started_at": stamp,
            "finished_at": stamp,
        }  # fmt: skip
        self._store.records.apply(row.ops(columns, stamp))
        return RunView(self._store, row.id)


def completed_steps(store: Store, workflow: str) -> dict[tuple[str, str], str]:
    """Return the completed steps of a workflow and of its further attempts: (name, key) -> run id.

    Of a step that was taken over from an earlier run, the id is the original's.
    """
    store.flush_records()
    found: dict[tuple[str, str], str] = {}
    for row in store.records.lookup(RUNS, {"parent": workflow}):
        if row["kind"] == WORKFLOW:
            found |= completed_steps(store, row["run_id"])
            continue
        labels: dict[str, Any] = json.loads(row["labels"] or "{}")
        name, key = labels.get(STEP_LABEL), labels.get(CACHE_KEY)
        if not name or not key:
            continue
        if row["state"] == "completed":
            found[name, key] = row["run_id"]
        elif row["state"] == "skipped" and labels.get(CACHED_FROM):
            found[name, key] = labels[CACHED_FROM]
    return found
