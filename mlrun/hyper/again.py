"""Taking a hyperparameter job up again: what has completed stays, everything else is run once more."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.execution.places import HERE, check_store, place
from mlrun.execution.retrypolicy import RetryPolicy
from mlrun.execution.states import move
from mlrun.execution.thresholds import limits_of
from mlrun.hyper.job import SweepJob
from mlrun.hyper.options import HyperParamOptions
from mlrun.hyper.table import stored_outcomes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.execution.law import Executor
    from mlrun.execution.task import Task
    from mlrun.store import Store

__all__ = ["go_on", "sweep_facts"]


def sweep_facts(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a run's provenance says of the job that it is; None for any other run."""
    facts = json.loads(row["provenance"] or "{}").get("hyper")
    return facts if isinstance(facts, dict) and "hyperparams" in facts else None


def go_on(
    store: Store, task: Task, facts: Mapping[str, Any], executor: Any = None
) -> dict[str, Any]:
    """Perform what is left of a job that failed, was aborted or lost, in the same parent run.

    Iterations that have completed keep their runs. The others get new ones of the same number, which count from then
    on; trials of the strategy "tune" go on in their own, from their checkpoints.

    Args:
        store: where it is.
        task: of the parent.
        facts: what its provenance says.
        executor: where iterations run; default where they ran.

    Returns:
        The parent's outcome.

    Raises:
        MlrunError: it had inputs that were never stored.
    """
    if facts.get("values"):
        raise MlrunError(
            f"inputs {', '.join(facts['values'])} of run {task.name!r} were values in memory, which are not stored: "
            "start the job anew"
        )
    known = {f.name for f in fields(HyperParamOptions)}
    options = HyperParamOptions.of({k: v for k, v in facts.items() if k in known})
    name = executor if executor is not None else facts.get("executor") or HERE
    where = _where(name, options)
    if where is not None:
        check_store(where, store)
    done = {
        o["iteration"]: o for o in stored_outcomes(store, task.run_id) if o["state"] == "completed"
    }
    spec = task.function
    limits = limits_of(spec.get("state_thresholds"), spec.get("time_limit"))
    retry = RetryPolicy.of(spec.get("retry"))
    job = SweepJob(
        task.but(fresh=False, time_limit=limits.get("executing")),
        facts["hyperparams"] or None,
        options,
        where,
        _needs(spec),
        retry={"count": retry.count, "backoff": retry.backoff} if retry.count else None,
        kept=done,
        resume=True,
        shown=True,
    )
    move(store, task.run_id, "pending_retry", finished_at=None)
    return job.perform()


def _where(executor: Any, options: HyperParamOptions) -> Executor | None:
    if options.strategy == "tune":
        return place("ray" if executor == HERE else executor)
    return None if executor == HERE and (options.parallel_runs or 0) <= 1 else place(executor)


def _needs(spec: Mapping[str, Any]) -> Any:
    from mlrun.functions.needing import as_needs
    from mlrun.functions.spec import FunctionSpec

    return replace(as_needs(FunctionSpec.from_dict(spec)), time_limit=None)
