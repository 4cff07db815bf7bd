"""What is recorded beside a run: console lines, system metrics, and where the run came from.

All of it is the background's: `attach` costs microseconds once the threads of the process are up, and what fails here
is left out without a word, because no run should suffer from its own description.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

from mlrun.background import later, submit
from mlrun.runwriter import open_writer
from mlrun.tables import SYSTEM_METRICS

if TYPE_CHECKING:
    from mlrun.config import Settings
    from mlrun.run import Run
    from mlrun.store import Store

__all__ = ["attach", "detach", "known_provenance"]

_PROVENANCE_WAIT = (
    0.003  # seconds that the end of a run waits for facts that are still being gathered
)

_LOOK = 10.0  # seconds between two looks for dropped points

_facts: dict[bool, dict[str, Any]] = {}  # with and without git: gathered once a process
_waiting: list[Run] = []
_lock = threading.Lock()


def attach(run: Run) -> None:
    """Begin to record console and system metrics of a run, as its settings say, and ask for its provenance."""
    if run.settings.console:
        run.console = _capture_console(run)
    if run.settings.system_metrics:
        from mlrun import sysmon

        channel = open_writer(run.store, run.settings).channel(
            run.project, run.id, SYSTEM_METRICS.name
        )
        sysmon.start(run.settings).attach(channel)
        run.system_channel = channel
    if "python" not in run.provenance and not run.attached:
        with _lock:
            _waiting.append(run)
        submit(_gather_for_waiting)
    later(_LOOK, lambda: _look(run))


def detach(run: Run) -> None:
    """Stop recording; what was printed before is stored."""
    if run.console is not None:
        run.console.stop()
        run.console = None
    if run.system_channel is not None:
        from mlrun import sysmon

        sysmon.start(run.settings).detach(run.system_channel)
        run.system_channel = None
    if run in _waiting:
        from mlrun.background import drain

        drain(_PROVENANCE_WAIT)


def known_provenance(settings: Settings) -> dict[str, Any]:
    """Return the facts if they are gathered, else an empty dict."""
    return _facts.get(settings.git, {})


def _look(run: Run) -> None:
    if run.state == "running" and not run.inherited:
        run.tell_drops()
        later(_LOOK, lambda: _look(run))


def _capture_console(run: Run) -> Any:
    from mlrun.console import capture

    writer = open_writer(run.store, run.settings)

    def emit(lines: list[tuple[int, str, str]]) -> None:
        writer.text(run.project, run.id, lines)

    return capture(emit)


def _gather_for_waiting() -> None:
    with _lock:
        runs = list(_waiting)
    for run in runs:
        facts = _facts.get(run.settings.git)
        if facts is None:
            facts = _gather(run.settings, run.store)
        run.set_provenance(facts)
        with _lock:
            _waiting.remove(run)


def _gather(settings: Settings, store: Store) -> dict[str, Any]:
    from mlrun.provenance import gather

    facts = gather(settings)
    # hundreds of names: stored once for all runs of the same environment
    packages = facts.pop("packages", None)
    if packages:
        text = json.dumps(packages, ensure_ascii=False).encode("utf-8", "replace")
        stored = store.objects.put(text)
        facts["packages"] = {"count": len(packages), "sha256": stored.sha256, "uri": stored.uri}
    _facts[settings.git] = facts
    return facts


def _renew_after_fork() -> None:
    global _lock  # may have been held at the fork
    _lock = threading.Lock()
    _waiting.clear()  # the parent does that


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
