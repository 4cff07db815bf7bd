"""What is recorded beside a run: console lines, system metrics, and where the run came from.

All of it is the background's: `attach` costs microseconds once the threads of the process are up, and what fails here
is left out without a word, because no run should suffer from its own description.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.ids import now_us
from mlrun.tables import RUNS, SYSTEM_METRICS
from mlrun.tracking.background import later, submit
from mlrun.tracking.importing import importing

if TYPE_CHECKING:
    from mlrun.config import Settings
    from mlrun.store import Store
    from mlrun.tracking.console import ConsoleCapture
    from mlrun.tracking.run import Run

__all__ = ["FIRST_LINES", "attach", "detach", "flush", "known_provenance"]

_PROVENANCE_WAIT = (
    0.003  # seconds that the end of a run waits for facts that are still being gathered
)

FIRST_LINES = 50  # of the console, that a run keeps in memory
_LINGER = 1.0  # seconds that the streams are heard after the last run has ended: the next may come at once
_LOOK = 10.0  # seconds between two looks at the open runs
_BEAT_US = (
    60_000_000  # between two signs of life on a network file system; see mlrun.lookup.liveness
)
_beaten: dict[str, int] = {}

# by store (which holds the list of packages), with and without git: gathered once a process
_facts: dict[tuple[str, bool], dict[str, Any]] = {}
_waiting: list[Run] = []
_watched: dict[int, Run] = {}
_looking = False
_lock = threading.Lock()


class _Console:
    """One capture of the process's streams for all runs that listen; it stays a moment after the last of them."""

    def __init__(self) -> None:
        self.listening: list[Run] = []
        self.capture: ConsoleCapture | None = None
        self.streams: tuple[Any, Any] = (None, None)
        self.lock = threading.RLock()

    def attach(self, run: Run) -> None:
        with self.lock:
            if self.capture is not None:
                # what was printed before belongs to others; a line that they began is theirs too, if they go on
                self.capture.flush(last=not self.listening)
            self.listening = [*self.listening, run]
            streams = (sys.stdout, sys.stderr)
            if self.capture is None or any(
                a is not b for a, b in zip(streams, self.streams, strict=True)
            ):
                self.stop()
                from mlrun.tracking.console import capture

                self.streams = streams
                self.capture = capture(self.emit)

    def detach(self, run: Run) -> None:
        with self.lock:
            if run not in self.listening:
                return
            others = [r for r in self.listening if r is not run]
            if self.capture is not None:
                self.capture.flush(last=not others)
                if others and (parts := self.capture.unfinished()):
                    with suppress(Exception):  # a full disk costs the line, not the end of the run
                        _store(run, parts)  # for the others the line goes on
            self.listening = others
            if not others:
                later(_LINGER, self.stop_if_idle)

    def flush(self) -> None:
        with self.lock:
            if self.capture is not None:
                self.capture.flush()

    def stop_if_idle(self) -> None:
        with self.lock:
            if not self.listening:
                self.stop()

    def stop(self) -> None:
        if self.capture is not None:
            self.capture.stop()
            self.capture = None

    def emit(self, lines: list[tuple[int, str, str]]) -> None:
        for run in self.listening:
            _store(run, lines)


def _store(run: Run, lines: list[tuple[int, str, str]]) -> None:
    if run.writer is not None:
        run.writer.text(run.project, run.id, lines)
        if run.lines < FIRST_LINES:  # who waits for a short run is told at once
            run.first_lines += [line for _, _, line in lines[: FIRST_LINES - run.lines]]
        run.lines += len(lines)


_console = _Console()


def attach(run: Run) -> None:
    """Begin to record console and system metrics of a run, as its settings say, and ask for its provenance."""
    if run.settings.console:
        _console.attach(run)
    if run.settings.system_metrics and run.writer is not None:
        from mlrun.tracking import sysmon

        channel = run.writer.channel(run.project, run.id, SYSTEM_METRICS.name)
        sysmon.start(run.settings).attach(channel)
        run.system_channel = channel
    if "python" not in run.provenance and not run.attached:
        with _lock:
            _waiting.append(run)
        submit(_gather_for_waiting)
    _watched[id(run)] = run
    _begin_to_look()


def flush() -> None:
    """Store what was printed so far."""
    _console.flush()


def detach(run: Run) -> None:
    """Stop recording; what was printed before is stored."""
    _watched.pop(id(run), None)
    _beaten.pop(run.id, None)
    if run.settings.console:
        _console.detach(run)
    if run.system_channel is not None:
        from mlrun.tracking import sysmon

        sysmon.start(run.settings).detach(run.system_channel)
        run.system_channel = None
    if run in _waiting:
        from mlrun.tracking.background import drain

        drain(_PROVENANCE_WAIT)


def known_provenance(settings: Settings, store: Store | None) -> dict[str, Any]:
    """Return the facts if they are gathered, else an empty dict."""
    return _facts.get((store.url, settings.git), {}) if store is not None else {}


def _begin_to_look() -> None:
    global _looking  # one look serves all runs
    if not _looking:
        _looking = True
        submit(_load_the_end)
        later(_LOOK, _look)


def _look() -> None:
    global _looking  # ends with the last run
    for run in list(_watched.values()):
        run.tell_drops()
        _tend(run)
    _looking = bool(_watched)
    if _looking:
        later(_LOOK, _look)


def _tend(run: Run) -> None:
    """Keep a long run's journal short, and other hosts told that its process lives."""
    if run.store is None:
        return
    shared = run.store.on_network or run.store.remote_records
    if shared and now_us() - _beaten.get(run.id, 0) > _BEAT_US:
        _beaten[run.id] = now_us()
        run.record([("put", RUNS.name, {"run_id": run.id, "updated_at": now_us()})])
        run.store.absorb_records_now()
    elif run.store.remote_records:
        return  # an absorber is started with every beat, and at the end: each costs a second
    run.store.maybe_absorb()


def _load_the_end() -> None:
    """Load what the end of a run needs, so that `finish()` and the interpreter's end do not wait for imports."""
    with importing():
        from mlrun.registry import storage_class

        import_module("mlrun.journal.absorb")
        import_module("mlrun.journal.waiting")
        storage_class("sqlite://")


def _gather_for_waiting() -> None:
    with _lock:
        runs = list(_waiting)
    for run in runs:
        facts = _facts.get((run.store.url, run.settings.git))
        if facts is None:
            facts = _gather(run.settings, run.store)
        run.set_provenance(facts)
        with _lock:
            _waiting.remove(run)


def _gather(settings: Settings, store: Store) -> dict[str, Any]:
    with importing():
        from mlrun.registry import storage_class
        from mlrun.tracking.provenance import gather

        import_module("mlrun.tracking.gpu")
        storage_class("file://")
    facts = gather(settings)
    # hundreds of names: stored once for all runs of the same environment
    packages = facts.pop("packages", None)
    if packages:
        text = json.dumps(packages, ensure_ascii=False).encode("utf-8", "replace")
        with suppress(MlrunError, OSError):  # a full disk: the other facts are worth having
            stored = store.objects.put(text)
            facts["packages"] = {"count": len(packages), "sha256": stored.sha256, "uri": stored.uri}
    _facts[store.url, settings.git] = facts
    return facts


def _renew_after_fork() -> None:
    global _console, _lock, _looking  # locks may have been held at the fork; the console is the parent's to hear
    _looking = False
    _watched.clear()
    _console = _Console()
    _lock = threading.Lock()
    _waiting.clear()  # the parent does that


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
