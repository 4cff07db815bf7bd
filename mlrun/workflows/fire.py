"""One firing of a schedule, in a process of its own: `python -m mlrun.workflows.fire STORE PROJECT NAME`.

The user's code never runs in the scheduler. Exit code 0: the run or workflow completed; 1: it did not.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, RunError
from mlrun.workflows.schedule import Schedule, get_schedule, note_fired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["fire", "main"]


def fire(store: Store, schedule: Schedule) -> RunView:
    """Run what a schedule names, now, and wait for it.

    Raises:
        RunError: it did not complete; `.run` is its view.
        ConfigError: the schedule's target cannot be understood.
    """
    target = dict(schedule.target)
    labels = {"mlrun/schedule": schedule.name}
    try:
        view = _start(store, schedule, target, labels)
    except RunError as error:
        failed: Any = error.run
        if failed is not None:
            note_fired(store, schedule, last_run=failed.id, last_state=failed.state)
        raise
    note_fired(store, schedule, last_run=view.id, last_state=view.state)
    return view


def _start(
    store: Store, schedule: Schedule, target: dict[str, Any], labels: dict[str, str]
) -> RunView:
    if target.get("kind") == "function":
        from mlrun.execution import launch
        from mlrun.functions.function import Function
        from mlrun.functions.spec import FunctionSpec

        function = Function(FunctionSpec.from_dict(target["spec"]))
        options = dict(target.get("options") or {})
        options["labels"] = {**(options.get("labels") or {}), **labels}
        return launch.run(function, project=schedule.project, store=store, watch=True, **options)
    if target.get("kind") == "workflow":
        from mlrun.project.open import load_project

        project = load_project(target["context"])
        view: RunView = project.run(
            target["workflow"], arguments=target.get("arguments"), engine=target.get("engine") or "",
            store=store, labels=labels,
        )  # fmt: skip
        return view
    raise ConfigError(
        f"schedule {schedule.name!r} is for a {target.get('kind')!r}, which is unknown"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Fire the schedule that the arguments name."""
    from mlrun.store import open_store

    place, project, name = sys.argv[1:] if arguments is None else arguments
    store = open_store(place)
    try:
        fire(store, get_schedule(store, project, name))
    except RunError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
