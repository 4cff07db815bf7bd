"""Run: what `init` returns and what a handler receives."""

from __future__ import annotations

import threading
from copy import copy
from typing import TYPE_CHECKING, Any

from mlrun import notices
from mlrun.ids import now_us
from mlrun.names import as_text, plain_text
from mlrun.tables import METRICS
from mlrun.tracking import current, lifecycle
from mlrun.tracking.absorbing import absorb_later
from mlrun.tracking.delivery import deliver
from mlrun.tracking.pointlog import MAX_STEP, PointLog
from mlrun.tracking.recordqueue import RecordQueue
from mlrun.tracking.runartifacts import RunArtifacts
from mlrun.tracking.runconfig import RunConfig
from mlrun.tracking.runcontext import RunContext
from mlrun.tracking.runfacts import RunFacts
from mlrun.tracking.runwriter import open_writer
from mlrun.tracking.values import pretty

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from mlrun.config import Settings
    from mlrun.contracts import Op
    from mlrun.journal.writer import Channel
    from mlrun.store import Store
    from mlrun.tracking.runops import RunRow

__all__ = ["Run"]

_ENDS = ("completed", "error", "aborted", "skipped")
_SYNONYMS = {
    "failed": "error",
    "failure": "error",
    "finished": "completed",
    "success": "completed",
    "killed": "aborted",
}


class Run(RunFacts, RunArtifacts, RunContext):
    """A run that is being written.

    Made by `mlrun.init()`, not by hand. It may be used from many threads, and in forked children, which write to it
    beside their parent. After `init` no method raises into a training loop: what cannot be stored is warned about once
    and counted. With `MLRUN_STRICT=1`, artifacts and results that fail do raise; points never.

    Attributes:
        id: text that finds the run again.
        project: the project it belongs to.
        config: its params, see `RunConfig`.
        results: the final values logged here.
        settings: the settings that it was opened with.
        attached: whether another living process owns the run; then this one never ends it.
        inherited: whether this is a forked child's copy of its parent's run.
        writer: this process's journal writer; None in mode "disabled".
        owned: how many handlers hold it; while it is owned, `finish()` only flushes.
        error: why it ended, once it has ended in error or was aborted.
        lines: how many lines of the console were stored for it, `first_lines`: the first of them.

    Example:
        >>> import mlrun
        >>> with mlrun.init(project="doc", config={"lr": 0.1}) as run:
        ...     for step in range(3):
        ...         run.log({"loss": 1 / (step + 1)})
        ...     run.log_result("best", 0.9)
        >>> mlrun.runs("doc", columns=["state", "params.lr", "results.best", "metrics.loss.min"]).rows()
        [('completed', 0.1, 0.9, 0.3333333333333333)]
    """

    def __init__(
        self, row: RunRow, store: Store | None, settings: Settings, *, attached: bool = False
    ) -> None:
        self.id = row.id
        self.project = row.project
        self._store = store
        self.writer = None if store is None else open_writer(store, settings)
        self.settings = settings
        self.strict = settings.strict
        self.attached = attached
        self.owned = 0
        self.error: str | None = None
        self.lines = 0
        self.first_lines: list[str] = []
        self.error_before = lifecycle.last_error()
        self.results: dict[str, Any] = dict(row.results)
        self.config = RunConfig(row.params, self._config_changed, self._key, self.warn)
        self._row = row
        self._state = "running"
        self.inherited = False
        self._stale = False
        self.system_channel: Any = None
        self._warned: set[str] = set()
        self._lock = threading.RLock()
        self._failure: str | None = None
        self._told = False  # the state in which it ended is recorded
        self._records = RecordQueue(self._write, self.warn)
        self._points = PointLog(
            self._open_channel,
            self._log_other,
            self.warn,
            limit=settings.max_metric_keys,
            step=row.next_step,
            keys=row.metric_keys,
        )
        self._log = self._points.log if store is not None else _ignore

    def log(self, data: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at one step; returns in microseconds, and what it returned from survives `kill -9`.

        Numbers of any library, bools (1 and 0) and zero-dimensional arrays and tensors become points; None gives no
        point; NaN and infinities are kept. Nested dicts become `outer/inner`. Text, dicts with a type, and media become
        artifacts of the run. What cannot be taken is warned about once and counted in `dropped`; the other values of
        the call are stored all the same. Nothing is ever raised.

        Args:
            data: names and values; names that are no text become `str(name)`.
            step: a whole number. Left out, it is one more than the step before (the first is 0, or the one after the
                last step of a resumed run); an explicit step sets the count.

        Example:
            >>> import mlrun
            >>> run = mlrun.init(project="doc")
            >>> run.log({"loss": 0.5}, step=10)
            >>> run.log({"val": {"acc": True}})
            >>> run.finish()
            >>> mlrun.metrics(run.id).select("key", "step", "value").rows()
            [('loss', 10, 0.5), ('val/acc', 11, 1.0)]
        """
        self._log(data, step)

    @property
    def step(self) -> int:
        """The step that the next `log()` without one gets."""
        return min(self._points.step, MAX_STEP)

    @property
    def unloggable(self) -> int:
        """How many values given to `log()` were of no known kind; they are part of `dropped`."""
        return self._points.unloggable

    @property
    def store(self) -> Any:
        """Where it is kept; None in mode "disabled"."""
        if self._stale:
            self._store = copy(
                self._store
            )  # the child's instance, without the parent's connections
            self._stale = False
        return self._store

    @property
    def dropped(self) -> int:
        """How many values given to `log()` are not stored: of no kind, beyond the key limit, or for want of space."""
        return self._row.dropped + self._points.refused + self._points.unloggable + self._lost()

    @property
    def state(self) -> str:
        """The state as this process knows it: running, or how the run was finished."""
        return self._state

    def record(self, ops: list[Op]) -> None:
        """Write records of the run so that they survive `kill -9`; while the disk is full they wait in memory."""
        if self.store is None or not ops:
            return
        try:
            stored = self._records.put(ops)
        except Exception as error:  # noqa: BLE001  raised again if strict
            self.failed("record", error)
            return
        if not stored and self.strict:
            raise OSError("the journal cannot be written; the record waits in memory")

    def flush(self) -> None:
        """Return when everything logged so far is on the disk, safe from a power cut too.

        With a gateway: when it has arrived there, or `MLRUN_FINISH_TIMEOUT` seconds later.
        """
        if self.writer is None:
            return
        from mlrun.tracking.capture import flush as flush_capture

        try:
            self._records.flush()
            flush_capture()
            self.writer.sync()
            deliver(self)
        except Exception as error:  # noqa: BLE001  a full disk must not end a training run
            self.warn("flush", f"flush() failed: {as_text(error)}")

    def finish(self, state: str = "completed", error: str | BaseException | None = None) -> None:
        """End the run; later calls do nothing.

        In a process that joined a run of another living process, in a forked child, and in a handler, the run is not
        this code's to end: then `finish` only flushes.

        Args:
            state: completed, error, aborted or skipped.
            error: what went wrong, as text or exception.
        """
        if self.owned:
            self.flush()
            return
        if isinstance(error, BaseException):
            error = lifecycle.traceback_text(error)
        known = _SYNONYMS.get(as_text(state), state)
        if known not in _ENDS:
            self.warn(
                "state",
                f"finish: a run ends as {', '.join(_ENDS)}, not as {pretty(state):.80}; it is set to error",
            )
            known = "error"
        self.end(known, None if error is None else plain_text(error))

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run as the block ended: completed, aborted (ctrl-C, SIGTERM) or error; the exception goes on."""
        self.finish(*lifecycle.outcome_of(error))

    def end(self, state: str, error: str | None = None, *, settle: bool | str = True) -> None:
        """End the run in this state, owned or not; for the owner of the run. Never raises.

        Args:
            state: a final one.
            error: why.
            settle: absorb its records now ("later": beside what comes next, once for many); without, whoever ends
                many runs absorbs once, after the last.
        """
        begun, watched = False, lifecycle.is_open(self)
        opened_here = current.open_run_of_process() is self
        try:
            with self._lock:
                if self._state != "running":
                    return
                begun, self._state = True, state
            lifecycle.closed(self)
            if state == "completed" and self._failure:
                self._state, error = "error", self._failure
            self.error = error
            if opened_here:
                current.set_open_run(None)
            if self.store is not None:
                self._end(error, settle)
        except Exception as failure:  # noqa: BLE001  the end of a run must not end the program
            self.warn(
                "finish", f"the end of run {self.name!r} could not be stored: {as_text(failure)}"
            )
        except BaseException:  # SIGTERM or ctrl-C in the middle: whoever ends the process ends it
            if begun and not self._told:
                self._state, self.error = "running", None
                if watched:
                    lifecycle.opened(self)
                if opened_here:
                    current.set_open_run(self)
            raise

    def _end(self, error: str | None, settle: bool | str) -> None:
        from mlrun.tracking.capture import detach

        detach(self)
        self._points.close()
        self.tell_drops()
        if self.attached or self.inherited:
            self._records.flush()
            return
        self._put_row(
            state=self._state, finished_at=now_us(), error=error, dropped=self.dropped or None
        )
        self._told = True
        if not settle:
            return
        if settle == "later":
            absorb_later(self.store)
            return
        try:
            self.store.absorb_records_now()
            self.store.maybe_absorb()
            deliver(self)
        except Exception as failure:  # noqa: BLE001  the end is recorded; who absorbs next meets the same trouble
            self.warn(
                "absorb", f"records of run {self.name!r} stay in the journal: {as_text(failure)}"
            )

    def warn(self, code: str, message: str) -> None:
        """Warn once per code."""
        if code not in self._warned:
            self._warned.add(code)
            notices.warn(message)

    def failed(self, what: str, error: Exception) -> None:
        """Take note that an artifact or result could not be stored: raise it if strict, else warn.

        A strict run that goes on all the same ends as `error`.
        """
        if self.strict:
            self._failure = self._failure or f"{what}: {lifecycle.traceback_text(error)}"
            raise error
        self.warn(
            f"{what}:{type(error).__name__}:{as_text(error)}",
            f"{what} failed: {type(error).__name__}: {as_text(error)}",
        )

    def tell_drops(self) -> None:
        """Warn, and store the count, when points were dropped because there was no space for them."""
        lost = self._lost()
        if lost and not self.attached:
            self.warn(
                "space",
                f"{lost:,} points could not be stored: the disk (or MLRUN_SPOOL_MAX_BYTES) is full",
            )
            self._put_row(dropped=self.dropped)

    def activity(self) -> tuple[int, int]:
        """Return numbers that change whenever something is written."""
        return self._points.step, self._records.written

    def become_inherited(self) -> None:
        """Turn into the copy that a forked child has: it may write, by its own writer, and never ends the run."""
        self.inherited = True
        self._lock = threading.RLock()
        self.system_channel = None
        self._points.renew()
        self._records.renew()
        self._stale = True

    def __repr__(self) -> str:
        """Show name, state and id."""
        return f"Run({self.name!r}, {self._state}, project={self.project!r}, id={self.id!r})"

    def _write(self, ops: list[Op]) -> None:
        assert self.writer is not None  # a disabled run has no queue to write from
        self.writer.record(ops)

    def _open_channel(self) -> Channel:
        assert self.writer is not None  # a disabled run ignores points
        return self.writer.channel(self.project, self.id, METRICS.name)

    def _lost(self) -> int:
        return 0 if self.writer is None else self.writer.dropped.get(self.id, 0)

    def _log_other(self, key: str, value: Any, step: int) -> bool:
        from mlrun.content.media import log_value

        return log_value(self, key, value, step) is not None


def _ignore(data: Any, step: Any = None) -> None:
    """Take everything and store nothing: mode "disabled"."""
