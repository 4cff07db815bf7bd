"""One firing of a schedule, in a process of its own: `python -m mlrun.workflows.fire STORE PROJECT NAME`.

The user's code never runs in the scheduler. Exit code 0: the run or workflow completed, or the firing before still
runs; 1: it ended otherwise; 2: it could not be begun.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.errors import ConfigError, MlrunError, RunError
from mlrun.ids import now_us
from mlrun.notices import say
from mlrun.workflows.schedule import Schedule, get_schedule, note_fired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["StillRuns", "fire", "fire_by_name", "main"]


class StillRuns(MlrunError):
    """The firing before has not ended."""


def fire(store: Store, schedule: Schedule, *, here: bool = False) -> RunView:
    """Run what a schedule names, now, and wait for it.

    Args:
        store: where the schedule is.
        schedule: which.
        here: run a function in this process, whatever executor the schedule names: that is what started this.

    Raises:
        StillRuns: the firing before has not ended; nothing was begun.
        RunError: it did not complete; `.run` is its view.
        ConfigError: the schedule's target cannot be understood.
    """
    key = hashlib.sha256(f"{schedule.project}\0{schedule.name}".encode()).hexdigest()[:32]
    lock = FileLock(store.folder / f"schedule-{key}.lock")
    if not lock.acquire(wait=False):
        raise StillRuns(f"schedule {schedule.project}/{schedule.name}: the one before still runs")
    try:
        note_fired(store, schedule, fired_at=now_us(), last_state="running")
        return _noted(store, schedule, here)
    finally:
        lock.release()


def _noted(store: Store, schedule: Schedule, here: bool) -> RunView:
    try:
        view = _start(store, schedule, here)
    except RunError as error:
        failed: Any = error.run
        note_fired(store, schedule, last_run=failed.id, last_state=failed.state)
        raise
    except BaseException:
        note_fired(store, schedule, last_state="error")
        raise
    note_fired(store, schedule, last_run=view.id, last_state=view.state)
    return view


def _start(store: Store, schedule: Schedule, here: bool) -> RunView:
    target = dict(schedule.target)
    options = dict(target.get("options") or {})
    options["labels"] = {**(options.get("labels") or {}), "mlrun/schedule": schedule.name}
    view: RunView
    if target.get("kind") == "function":
        from mlrun.functions.function import Function
        from mlrun.functions.spec import FunctionSpec

        if here:
            options["executor"] = "local"
        function = Function(FunctionSpec.from_dict(target["spec"]), store)
        view = function.run(project=schedule.project, store=store, **options)
        return view
    if target.get("kind") == "workflow":
        from mlrun.project.open import load_project

        project = load_project(target["context"], store=store)
        view = project.run(
            target["workflow"], arguments=target.get("arguments"), engine=target.get("engine") or "",
            store=store, **options,
        )  # fmt: skip
        return view
    raise ConfigError(
        f"schedule {schedule.name!r} is for a {target.get('kind')!r}, which is unknown"
    )


def fire_by_name(place: Mapping[str, str], project: str, name: str) -> dict[str, Any]:
    """Fire a stored schedule where an executor started this; returns `{"run_id", "state"}`.

    Args:
        place: settings that open the store there.
        project: of the schedule.
        name: of the schedule.
    """
    from mlrun.config import settings
    from mlrun.store import open_store

    store = open_store(given=settings(**place))
    view = fire(store, get_schedule(store, project, name), here=True)
    return {"run_id": view.id, "state": view.state}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fire the schedule that the arguments name."""
    from mlrun.store import open_store

    place, project, name = sys.argv[1:] if arguments is None else arguments
    try:
        store = open_store(place)
        fire(store, get_schedule(store, project, name))
    except StillRuns as error:
        say(str(error))
    except RunError as error:
        say(str(error))
        return 1
    except MlrunError as error:
        say(f"schedule {project}/{name}: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
