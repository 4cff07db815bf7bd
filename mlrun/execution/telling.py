"""Telling people how a run ended: the notifications of one call of `fn.run`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlrun.execution.task import Task

__all__ = ["Told"]


@dataclass
class Told:
    """Who is told of the end of a run.

    Attributes:
        notifications: in the forms that `parse_notifications` reads; checked when this is made.
    """

    notifications: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, given: Iterable[Any] | None) -> Told:
        """Read what `notifications=` was given.

        Raises:
            ConfigError: one has no meaning.
        """
        if not given:
            return cls()
        from mlrun.workflows.notification import parse_notifications

        return cls(list(parse_notifications(given)))

    def tell(self, task: Task, outcome: Mapping[str, Any]) -> None:
        """Send what is to be sent for a run that ended like this, and record what became of it; never raises."""
        if not self.notifications:
            return
        from mlrun.workflows.notification import Ending, push

        ending = Ending(
            task.run_id,
            task.name,
            task.project,
            outcome["state"],
            outcome["error"],
            outcome["results"],
        )
        sent = push(self.notifications, ending)
        store = task.open_store()
        if store is not None:
            from mlrun.workflows.telling import record_sent

            record_sent(store, task.run_id, sent)
