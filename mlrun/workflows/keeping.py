"""Schedules whose clock an executor keeps itself: a RayCronJob on Kubernetes that fires them by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError
from mlrun.execution.law import CanSchedule, Needs
from mlrun.workflows.cron import plain_cron

if TYPE_CHECKING:
    from mlrun.store import Store
    from mlrun.workflows.schedule import Schedule

__all__ = ["keep", "keeps_clock", "unkeep"]


def keeps_clock(executor: Any) -> bool:
    """Whether the executor of a name starts calls by the clock itself."""
    from mlrun.registry import executor_class

    return isinstance(executor, str) and hasattr(executor_class(executor), "schedule")


def keep(store: Store, schedule: Schedule) -> str:
    """Hand a stored schedule to the executor that keeps its clock; returns what identifies it there.

    Raises:
        ConfigError: the executor keeps no clock, or what is scheduled is no function.
        ExecutorError: it cannot see the store, or refused.
    """
    from mlrun.config import settings
    from mlrun.execution.places import check_store, place
    from mlrun.execution.task import STORE_SETTINGS
    from mlrun.workflows.fire import fire_by_name

    executor = place(schedule.place)
    if not isinstance(executor, CanSchedule):
        raise ConfigError(
            f"executor {schedule.place!r} keeps no clock: leave place out, and start `mlrun scheduler`"
        )
    check_store(executor, store)
    known = settings(project=schedule.project)
    where = {n: str(getattr(known, n)) for n in STORE_SETTINGS if getattr(known, n)}
    return executor.schedule(
        _name(schedule), plain_cron(schedule.cron), fire_by_name, {**where, "dbpath": store.url},
        schedule.project, schedule.name, needs=_needs(schedule), time_zone=schedule.timezone,
    )  # fmt: skip


def unkeep(schedule: Schedule) -> None:
    """Take a schedule away from the executor that keeps its clock."""
    from mlrun.execution.places import place

    executor = place(schedule.place)
    if isinstance(executor, CanSchedule):
        executor.unschedule(_name(schedule))


def _name(schedule: Schedule) -> str:
    return f"{schedule.project}-{schedule.name}"


def _needs(schedule: Schedule) -> Needs:
    if schedule.target.get("kind") != "function":
        raise ConfigError(
            "a workflow is fired by `mlrun scheduler`: its project's folder is not there elsewhere"
        )
    from mlrun.functions.needing import as_needs
    from mlrun.functions.spec import FunctionSpec

    return as_needs(FunctionSpec.from_dict(schedule.target["spec"]))
