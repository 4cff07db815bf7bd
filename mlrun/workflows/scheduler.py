"""The scheduler: a process that starts what schedules say, each firing in a process of its own.

Law. One scheduler a store: a second one waits until the first is gone. Schedules are read anew every few seconds, so a
change needs no restart. A firing that falls due while the one before still runs is skipped, and said so, also after a
restart of the scheduler; several that were missed (the scheduler was down, the machine slept) are made up for by one,
up to an hour late. A firing is noted before its process is started: a scheduler that is killed in between starts it no
second time. Ending the scheduler lets firings go on. A schedule or store that cannot be read is told and tried again.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.errors import MissingExtra, MlrunError
from mlrun.ids import now_us
from mlrun.notices import say
from mlrun.workflows.cron import check_cron
from mlrun.workflows.schedule import Schedule, note_fired, schedules_of

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["Scheduler"]

_LOOK = 5.0  # seconds between two looks at the schedules
_LATE = 3600  # seconds after its time that a missed firing is still made up for
_TOLD = (0, 1, 2)  # exit codes of processes that noted themselves what came of them


class Scheduler:
    """Starts what the schedules of a store say.

    Args:
        store: whose schedules.
        look: seconds between two looks at them.
    """

    def __init__(self, store: Store, *, look: float = _LOOK) -> None:
        self._store = store
        self._look = look
        self._stop = threading.Event()
        self._known: dict[tuple[str, str], Schedule] = {}
        self._unread: dict[tuple[str, str], Schedule] = {}
        self._running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Keep the clock until `stop()`; waits first until no other scheduler of this store is left."""
        try:
            from apscheduler.schedulers.background import (  # type: ignore[import-untyped,unused-ignore]
                BackgroundScheduler,
            )
        except ModuleNotFoundError as error:
            raise MissingExtra.of("apscheduler", "schedule") from error
        self._store.prepare()
        lock = FileLock(self._store.folder / "scheduler.lock")
        if not self._acquired(lock):
            return
        try:
            defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": _LATE}
            clock = BackgroundScheduler(timezone=UTC, job_defaults=defaults)
            clock.start()
            try:
                while not self._stop.is_set():
                    self._look_around(clock)
                    self._stop.wait(self._look)
            finally:
                clock.shutdown(wait=True)
        finally:
            lock.release()

    def _acquired(self, lock: FileLock) -> bool:
        """Wait for the lock, in steps: a signal that ends us must be heard."""
        told = False
        while not self._stop.is_set():
            if lock.acquire(wait=False):
                return True
            if not told:
                told = True
                say(f"another scheduler keeps {self._store.url}: waiting until it is gone")
            self._stop.wait(min(self._look, 1.0))
        return False

    def stop(self) -> None:
        """Let `run` return; firings that run go on."""
        self._stop.set()

    def _look_around(self, clock: Any) -> None:
        try:
            self._read(clock)
            self._reap()
        except MlrunError as error:
            say(f"the schedules cannot be read now: {error}")

    def _read(self, clock: Any) -> None:
        """Bring the clock's jobs to what is stored."""
        stored = {
            (s.project, s.name): s for s in schedules_of(self._store) if s.enabled and not s.place
        }
        for key in [k for k, s in self._known.items() if stored.get(k) != s]:
            clock.remove_job(_job_id(key))
            del self._known[key]
        for key, schedule in stored.items():
            if key not in self._known and self._unread.get(key) != schedule:
                try:
                    self._add(clock, key, schedule)
                except MlrunError as error:
                    self._unread[key] = schedule
                    say(f"schedule {schedule.project}/{schedule.name}: {error}")

    def _add(self, clock: Any, key: tuple[str, str], schedule: Schedule) -> None:
        trigger = check_cron(schedule.cron, schedule.timezone)
        now = datetime.now(UTC)
        begin: dict[str, Any] = {}
        due = trigger.get_next_fire_time(None, schedule.since) if schedule.since else None
        if due is not None and now - timedelta(seconds=_LATE) <= due <= now:
            begin["next_run_time"] = now
            say(
                f"schedule {schedule.project}/{schedule.name}: makes up for a firing that was missed"
            )
        clock.add_job(self.fire, trigger, args=[schedule], id=_job_id(key), **begin)
        self._known[key] = schedule
        say(f"schedule {schedule.project}/{schedule.name}: next at {_next(trigger)}")

    def fire(self, schedule: Schedule) -> bool:
        """Start a process for a schedule; False if the one before still runs."""
        key = (schedule.project, schedule.name)
        before = self._running.get(key)
        if before is not None and before.poll() is None:
            say(f"schedule {schedule.project}/{schedule.name}: skipped, the one before still runs")
            return False
        note_fired(self._store, schedule, fired_at=now_us(), last_state="running")
        command = [sys.executable, "-m", "mlrun.workflows.fire"]
        self._running[key] = subprocess.Popen(
            [*command, self._store.url, schedule.project, schedule.name],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        return True

    def _reap(self) -> None:
        """Forget processes that have ended, and note those that died before they could."""
        for key, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[key]
            if code not in _TOLD:
                say(f"schedule {'/'.join(key)}: its process ended with code {code}")
                schedule = self._known.get(key)
                if schedule is not None:
                    note_fired(self._store, schedule, last_state="error")


def _job_id(key: tuple[str, str]) -> str:
    return "\0".join(key)


def _next(trigger: Any) -> str:
    found = trigger.get_next_fire_time(None, datetime.now(UTC))
    return "never" if found is None else found.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
