"""A run before anybody performs it: its row, params, tags and labels, written as `pending` by its driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.ids import now_us
from mlrun.names import clean
from mlrun.notices import warn
from mlrun.tables import PARAMS
from mlrun.tracking.resume import Known
from mlrun.tracking.runconfig import RunConfig
from mlrun.tracking.runops import RunRow, param_ops
from mlrun.tracking.whoami import host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.contracts import Op
    from mlrun.execution.task import Task
    from mlrun.store import Store

__all__ = ["announce", "announced"]


def announce(store: Store, task: Task, *, state: str = "pending", owned: bool = True) -> int:
    """Write a run that is going to be performed; it is durable when this returns.

    The rows go straight into the records: a new run has nothing in any journal, and a worker finds it there without
    absorbing anything.

    Args:
        store: where.
        task: what will be performed.
        state: created or pending.
        owned: whether the run is lost when this process dies before anybody has begun.

    Returns:
        When the row was written, as it says itself: whoever finds it so knows that nobody has changed the run since.
    """

    def tell(code: str, message: str) -> None:
        warn(message)

    row = RunRow(task.run_id, clean(task.project, "project", tell), clean(task.name, "name", tell))
    row.notes = task.notes
    for key, value in task.labels.items():
        row.set_label(clean(key, "label", tell), value)
    row.provenance["task"] = task.record()
    ops = _describe(row, task, tell)
    columns = {
        "state": state, "kind": task.kind, "function": task.function_uri or None,
        "parent": task.parent, "iteration": task.iteration, "started_at": now_us(),
        "host": host(), "writer": _claim(store) if owned else None,
    }  # fmt: skip
    stamp = now_us()
    store.records.apply([*row.ops(columns, stamp), *ops])
    return stamp


def announced(task: Task, found: Mapping[str, Any]) -> Known | None:
    """Return what a worker knows of a run whose stored row is `found`; None if somebody has changed it since."""
    if not task.announced or found.get("updated_at") != task.announced:
        return None
    row = RunRow(task.run_id, "", "")
    _describe(row, task, lambda code, message: None)  # its driver was told
    return Known(row.tags, row.params)


def _describe(row: RunRow, task: Task, tell: Callable[[str, str], None]) -> list[Op]:
    """Give a row the tags and params of its task; returns the ops of the params."""
    row.tags.update(clean(t, "tag", tell) for t in task.tags)
    ops: list[Op] = []
    if task.params:

        def changed(new: dict[str, Any], gone: list[str]) -> None:
            ops.extend(param_ops(PARAMS.name, row.id, new, gone, tell))

        RunConfig(row.params, changed, lambda key: clean(key, "key", tell)).update(task.params)
    return ops


def _claim(store: Store) -> str:
    from mlrun.tracking.lifecycle import close_at_exit

    writer = store.writer()
    close_at_exit(writer)
    return f"{writer.name}#{writer.claim}"
