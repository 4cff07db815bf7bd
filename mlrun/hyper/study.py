"""Study: what an executor that can tune is asked for, in words that need no Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlrun.execution.law import Needs
    from mlrun.hyper.space import Draw

__all__ = ["CanTune", "Link", "Study"]


class Link(Protocol):
    """What a trial has of the study while it runs, in the process that performs it.

    Attributes:
        stopped_by: which scheduler stopped it; empty while none has.
    """

    stopped_by: str

    def report(self, value: float, step: int) -> None:
        """Tell how good the trial is by now, and wait for the word to go on.

        Raises:
            RunAborted: the scheduler gives it up.
            SystemExit: it has had all the reports that a trial gets.
        """
        ...

    def save_checkpoint(self, folder: Path) -> None:
        """Keep a copy of a folder, from which the trial can go on."""
        ...

    def load_checkpoint(self) -> Path | None:
        """Return the folder to go on from; None for a trial that begins."""
        ...


@dataclass
class Study:
    """A search for the best params.

    Attributes:
        id: of the job; names its folder.
        trial: performs a trial: called as `trial(iteration, params, link)` in a worker; returns its outcome. Numbers
            begin at 1.
        space: what is drawn.
        goal: "min" or "max" of what is reported; None when nobody judges.
        samples: how many trials.
        parallel: how many at once; None for all cores.
        seed: makes the draws repeatable.
        scheduler, search: by name; empty for none.
        extra: further arguments of the two, by name.
        folder: where the study's state and checkpoints are kept.
        resume: whether to go on with what is in that folder.
        needs: what a trial needs.
        ended: told the outcome of a trial that has ended; of one that was given up, only its number, state and last
            value.
        stops: whether no further trial is to be started, and those in flight are to end.
    """

    id: str
    trial: Callable[[int, dict[str, Any], Link], dict[str, Any]]
    space: Mapping[str, Draw]
    goal: str | None
    samples: int
    parallel: int | None
    seed: int | None
    scheduler: str
    search: str
    extra: Mapping[str, Any]
    folder: Path
    resume: bool = False
    needs: Needs | None = None
    ended: Callable[[dict[str, Any]], None] = field(default=lambda outcome: None)
    stops: Callable[[], bool] = field(default=lambda: False)


@runtime_checkable
class CanTune(Protocol):
    """An executor that draws params by how good earlier ones were, and gives up trials that are not worth going on."""

    def check_tuning(self, scheduler: str, search: str, extra: Mapping[str, Any]) -> None:
        """Raise ConfigError or MissingExtra for a scheduler, searcher or argument that it does not know."""
        ...

    def tune(self, study: Study) -> None:
        """Perform a study to its end.

        Raises:
            JobError: it cannot be performed.
        """
        ...
