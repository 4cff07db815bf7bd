"""A workflow that has failed, performed once more: as a child run of the failed one, which then ends as that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError, RunError
from mlrun.execution.states import ENDED, move, read_row, state_of
from mlrun.tables import LINEAGE
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from mlrun.store import Store
    from mlrun.tracking.run import Run
    from mlrun.view import RunView

__all__ = ["retry_workflow"]


def retry_workflow(
    store: Store, run_id: str, *, executor: Any = None, local: bool = False
) -> dict[str, Any]:
    """Go on with a workflow that failed, was aborted or lost; what it has completed is taken. Returns the outcome.

    Args:
        store: where its run is.
        run_id: of the workflow; it becomes the parent of the attempt.
        executor: where its steps run; default where they did.
        local: the same as executor="local".

    Raises:
        MlrunError: it has not failed, or its function was not stored.
    """
    from mlrun.config import settings
    from mlrun.functions.module import load_callable
    from mlrun.workflows.driving import workflow_record
    from mlrun.workflows.workflow import Plan, run_workflow

    row = read_row(store, run_id)
    state = state_of(store, row)
    if state not in ENDED - {"completed", "skipped"}:
        raise MlrunError(f"run {row['name']!r} is {state}: only a run that has failed is retried")
    kept = workflow_record(store, run_id)
    if not kept.get("function"):
        raise MlrunError(
            f"the function of workflow {row['name']!r} was not stored: call it with resume={run_id!r}"
        )
    plan = Plan.of(load_callable(kept["function"]), str(kept["name"]))
    plan.name, plan.cache = str(kept["name"]), bool(kept.get("cache"))
    move(store, run_id, "pending_retry", finished_at=None)
    known = settings(project=row["project"])
    parent = open_run(
        store, known, About(), run_id=run_id, taken=read_row(store, run_id, flush=False)
    )
    where = "local" if local else executor or kept.get("executor")
    try:
        view = run_workflow(
            plan, project=row["project"], resume=run_id, store=store, executor=where, parent=run_id
        )
    except RunError as error:
        failed: Any = error.run
        return _ended(parent, failed)
    except BaseException as failure:
        parent.end(*lifecycle.outcome_of(failure))
        raise
    return _ended(parent, view)


def _ended(parent: Run, attempt: RunView) -> dict[str, Any]:
    """Let the workflow end as its attempt did, with what that returned and made."""
    if attempt.results:
        parent.log_results(attempt.results)
    attempt.store.flush_records()
    made = attempt.store.records.lookup(LINEAGE, {"run_id": attempt.id, "role": "output"})
    parent.record([("put", LINEAGE.name, {**row, "run_id": parent.id}) for row in made])
    parent.end(attempt.state, attempt.error)
    return {
        "run_id": parent.id, "state": attempt.state, "results": attempt.results,
        "error": attempt.error, "iteration": None,
    }  # fmt: skip
