"""retry: performs a run that has ended once more, as a further attempt; see `mlrun.execution.attempts`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.execution.attempts import perform_attempts
from mlrun.execution.dispatch import Dispatch
from mlrun.execution.places import HERE, chosen, place
from mlrun.execution.retrypolicy import RetryPolicy
from mlrun.execution.states import ENDED, move, read_row, state_of
from mlrun.execution.task import STORE_SETTINGS, Task, carried_settings
from mlrun.tables import PARAMS, RUNS, TAGS
from mlrun.tracking.runconfig import nest
from mlrun.tracking.values import decode

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["retry_run", "task_of"]


def retry_run(
    store: Store, run_id: str, *, executor: Any = None, local: bool = False
) -> dict[str, Any]:
    """Make one more attempt of a run that failed, was aborted or lost; returns its outcome.

    Args:
        store: where the run is.
        run_id: which run; it becomes the parent of the attempt.
        executor: where, as in `Function.run`.
        local: the same as executor="local".

    Raises:
        MlrunError: it has not ended, was no function's run, or its function cannot be found.
    """
    from mlrun.config import settings

    row = read_row(store, run_id)
    if row["kind"] == "workflow":
        from mlrun.workflows.again import retry_workflow

        return retry_workflow(store, run_id, executor=executor, local=local)
    state = state_of(store, row)
    if state not in ENDED - {"completed", "skipped"}:
        raise MlrunError(f"run {row['name']!r} is {state}: only a run that has failed is retried")
    task = task_of(store, row)
    from mlrun.hyper.again import go_on, sweep_facts

    if (facts := sweep_facts(row)) is not None:
        return go_on(store, task, facts, HERE if local else executor)
    children = store.records.lookup(RUNS, {"parent": run_id})
    known = settings(project=row["project"])
    where = chosen(local, executor, known)
    dispatch = Dispatch(
        store, None if where == HERE else place(where), retry=RetryPolicy(0), follow=True
    )
    move(store, run_id, "pending_retry", finished_at=None)
    first = len(children) or 1
    return perform_attempts(dispatch, task, first=first, taken=read_row(store, run_id, flush=False))


def task_of(store: Store, row: dict[str, Any]) -> Task:
    """Return the task that a stored run performed.

    Raises:
        MlrunError: it was not performed by `fn.run`.
    """
    from mlrun.config import settings

    run_id = row["run_id"]
    kept = json.loads(row["provenance"] or "{}").get("task")
    if not isinstance(kept, dict):
        raise MlrunError(f"run {row['name']!r} is no run of a function: it cannot be retried")
    known = settings(project=row["project"])
    place_ = {n: str(getattr(known, n)) for n in STORE_SETTINGS if getattr(known, n)}
    params = {
        r["key"]: decode(r["value"]) for r in store.records.lookup(PARAMS, {"run_id": run_id})
    }
    task = Task.from_dict(
        {
            "params": nest(params), **kept, "run_id": run_id, "name": row["name"] or "run",
            "project": row["project"], "labels": json.loads(row["labels"] or "{}"),
            "tags": [r["tag"] for r in store.records.lookup(TAGS, {"run_id": run_id})],
            "store": {**place_, "dbpath": store.url}, "settings": carried_settings(known),
        }
    )  # fmt: skip
    if not task.function:
        task.function = _function(store, task.function_uri, row)
    return task


def _function(store: Store, uri: str, row: dict[str, Any]) -> dict[str, Any]:
    if not uri:
        raise MlrunError(
            f"the function of run {row['name']!r} was not stored: it cannot be retried"
        )
    from mlrun.functions.store import get_spec

    found: dict[str, Any] = get_spec(store, uri)
    return found
