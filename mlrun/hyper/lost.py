"""What became of the trials of a batch whose worker died: asked of the store, not guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.ids import now_us
from mlrun.tables import RESULTS, RUNS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mlrun.contracts import Op
    from mlrun.execution.task import Task
    from mlrun.hyper.trials import Trial
    from mlrun.store import Store

__all__ = ["settle_lost"]

_ENDED = ("completed", "error", "aborted", "skipped")


def settle_lost(
    store: Store | None, batch: Sequence[Trial], base: Task, why: str, twice: Collection[str]
) -> tuple[list[dict[str, Any]], list[Trial]]:
    """Tell the trials that had ended and those that died from those that had not begun.

    Those that died end as `error` with the reason; so do those not begun that were handed out before (`twice`), so that
    a trial which kills its worker before it is recorded cannot go round for ever.

    Returns:
        Outcomes, and the trials to hand out once more.
    """
    if store is None:
        return [_outcome(t, "error", {}, why) for t in batch], []
    states, results = _stored(store, [t.run_id for t in batch])
    outcomes, unbegun = [], []
    ops: list[Op] = []
    for trial in batch:
        state = states.get(trial.run_id)
        if state in _ENDED:
            outcomes.append(_outcome(trial, state, results.get(trial.run_id, {}), None))
        elif state is None and trial.run_id not in twice:
            unbegun.append(trial)
        else:
            ops.append(("put", RUNS.name, _died(trial, base, why, begun=state is not None)))
            outcomes.append(_outcome(trial, "error", results.get(trial.run_id, {}), why))
    if ops:
        store.flush_records()
        store.records.apply(ops)
    return outcomes, unbegun


def _stored(store: Store, run_ids: list[str]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    from mlrun.lookup.sight import snapshot

    with snapshot(store) as sight:
        states = dict(sight.rows(RUNS, run_ids).select("run_id", "state").iter_rows())
        found = sight.rows(RESULTS, run_ids).select("run_id", "key", "value").iter_rows()
        results: dict[str, dict[str, Any]] = {}
        for run_id, key, value in found:
            results.setdefault(run_id, {})[key] = json.loads(value)
    return states, results


def _died(trial: Trial, base: Task, why: str, *, begun: bool) -> dict[str, Any]:
    stamp = now_us()
    row = {
        "run_id": trial.run_id, "state": "error", "error": why, "finished_at": stamp, "updated_at": stamp,
    }  # fmt: skip
    if begun:
        return row
    return {
        **row, "name": base.name, "project": base.project, "kind": base.kind, "parent": base.parent,
        "iteration": trial.iteration, "function": base.function_uri or None, "started_at": stamp,
    }  # fmt: skip


def _outcome(trial: Trial, state: str, results: dict[str, Any], why: str | None) -> dict[str, Any]:
    return {
        "run_id": trial.run_id, "iteration": trial.iteration, "state": state, "results": results, "error": why,
    }  # fmt: skip
