"""The side of a Ray worker that performs trials of a study: Tune's steps on one thread, the handler on another.

Tune asks for a step; the handler runs until it logs the metric, which is the step's result, and waits there until Tune
asks for the next. Nothing has to be changed in a handler to be tuned.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from mlrun.errors import JobError
from mlrun.execution.interrupt import RunAborted

from .ray_worker import ready

__all__ = ["OUTCOME", "VALUE", "TrialActor"]

VALUE, OUTCOME = "value", "outcome"
_LOOK = 0.2  # seconds: an interrupt of the handler's thread is raised between two waits
_END = 30.0  # seconds that a handler has to end once it is given up


class TrialActor(tune.Trainable):
    """A trial; Tune makes one for every trial, or hands a used one the params of the next."""

    def setup(self, config: dict[str, Any], job: Any = None) -> None:
        """Prepare; `job` is what `mlrun.executors.tune` sends."""
        self._job = job
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another trial."""
        self.cleanup()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._params = dict(config)
        self._link = ActorLink(self._job.scheduler, self._job.most)
        self._thread: threading.Thread | None = None

    def step(self) -> dict[str, Any]:
        """Let the handler run until it reports, or has ended."""
        if self._thread is None:
            number = int(self.trial_name)
            self._thread = threading.Thread(target=self._perform, args=(number,), daemon=True)
            self._thread.start()
        else:
            self._link.go_on()
        return self._link.next()

    def _perform(self, number: int) -> None:
        """Perform the trial, on this thread."""
        link = self._link
        try:
            with ready(self._job.setup):
                link.end(self._job.trial(number, self._params, link))
        except BaseException as error:  # noqa: BLE001  told to Tune: the trial failed
            link.fail(error)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the handler's newest checkpoint, if it made one."""
        if self._link.folder is not None:
            shutil.copytree(self._link.folder, checkpoint_dir, dirs_exist_ok=True)
        Path(checkpoint_dir, ".reports").write_text(str(self._link.reports))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take over a checkpoint, of this trial or of another one."""
        folder = Path(tempfile.mkdtemp(prefix="mlrun-checkpoint-"))
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        noted = folder / ".reports"
        self._link.reports = int(noted.read_text()) if noted.exists() else 0
        noted.unlink(missing_ok=True)
        self._link.folder = folder if any(folder.iterdir()) else None

    def cleanup(self) -> None:
        """End the handler: Tune gives the trial up, or sets it aside."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._link.give_up()
            thread.join(_END)
        self._link.forget()


class ActorLink:
    """What a handler's run has of its study; meets `mlrun.hyper.study.Link`.

    Args:
        scheduler: its name, for the run's label.
        most: reports after which a trial has had all that it gets; 0 for no such number.

    Attributes:
        stopped_by: set once the scheduler gives the trial up.
        reports: how many there were, those before a checkpoint that was loaded among them.
        folder: the newest checkpoint.
    """

    def __init__(self, scheduler: str, most: int) -> None:
        self.stopped_by = ""
        self.reports = 0
        self.folder: Path | None = None
        self._scheduler, self._most = scheduler, most
        self._changed = threading.Condition()
        self._told: dict[str, Any] | None = None  # by the handler, for Tune
        self._error: BaseException | None = None
        self._waits = False  # the handler waits for the word to go on
        self._given_up = False
        self._last = False  # the handler may come to its end, and not report again
        self._fresh = False  # a checkpoint that Tune has not seen

    # -- the handler's thread ---------------------------------------------------------------------

    def report(self, value: float, step: int) -> None:
        with self._changed:
            if self._last:
                raise SystemExit(0)
            self._stop_if_given_up()
            self.reports += 1
            self._told = {VALUE: value, "step": step, SHOULD_CHECKPOINT: self._fresh}
            self._fresh, self._waits = False, True
            self._changed.notify_all()
            while self._waits:
                self._changed.wait(_LOOK)
            if not self._last:
                self._stop_if_given_up()

    def _stop_if_given_up(self) -> None:
        if self._given_up:
            self.stopped_by = self._scheduler or "tune"
            raise RunAborted(f"{self.stopped_by} stopped it after {self.reports} reports")

    def save_checkpoint(self, folder: Path) -> None:
        kept = Path(tempfile.mkdtemp(prefix="mlrun-checkpoint-"))
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        with self._changed:
            before, self.folder, self._fresh = self.folder, kept, True
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def load_checkpoint(self) -> Path | None:
        return self.folder

    def end(self, outcome: dict[str, Any]) -> None:
        """Tell that the handler has ended."""
        if outcome["state"] == "error":
            self.fail(JobError(outcome["error"] or "it failed"))
            return
        told: dict[str, Any] = {OUTCOME: outcome, "done": True}
        if outcome["value"] is not None:
            told[VALUE] = outcome["value"]
        self._tell(told, None)

    def fail(self, error: BaseException) -> None:
        """Tell that the trial could not be performed."""
        self._tell(None, error)

    def _tell(self, told: dict[str, Any] | None, error: BaseException | None) -> None:
        with self._changed:
            self._told, self._error = told, error
            self._changed.notify_all()

    # -- Tune's thread ----------------------------------------------------------------------------

    def go_on(self) -> None:
        """Let the handler go on behind its report."""
        with self._changed:
            self._told, self._waits = None, False
            self._changed.notify_all()

    def next(self) -> dict[str, Any]:
        """Wait for what the handler tells."""
        with self._changed:
            while self._told is None and self._error is None:
                self._changed.wait(_LOOK)
            if self._error is not None:
                raise JobError(str(self._error)) from self._error
            assert self._told is not None
            return self._told

    def give_up(self) -> None:
        """Have the handler end at its report; one that has had all its reports may come to its own end."""
        with self._changed:
            self._last = bool(self._most) and self.reports >= self._most
            self._given_up, self._waits = True, False
            self._changed.notify_all()

    def forget(self) -> None:
        """Delete the checkpoint of this host."""
        if self.folder is not None:
            with suppress(OSError):
                shutil.rmtree(self.folder)
            self.folder = None
