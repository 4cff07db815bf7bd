"""When enough waits in the journal: start an absorber beside the training process, never inside it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["MAX_BYTES", "MAX_WRITERS", "absorb_in_background", "is_due", "waiting"]

MAX_BYTES = 64 << 20
MAX_WRITERS = 32
_EVERY = 1.0  # seconds between two looks of one process
_last_look: dict[str, float] = {}
_children: list[int] = []


def waiting(journal: Path) -> tuple[int, int]:
    """Return (writers that have files to absorb, bytes in those files)."""
    writers = size = 0
    try:
        slots = [e.path for e in os.scandir(journal) if e.name.startswith("w-")]
    except FileNotFoundError:
        return 0, 0
    for slot in slots:
        found = 0
        try:
            for entry in os.scandir(slot):
                if entry.name.endswith((".seg", ".rec", ".txt")):
                    found += entry.stat().st_size
        except FileNotFoundError:
            continue  # absorbed while we looked
        writers += found > 0
        size += found
    return writers, size


def is_due(journal: Path, *, writers: int = MAX_WRITERS) -> bool:
    """Whether an absorber is worth its start: 32 writers (or as many as told) or 64 MB wait."""
    found, size = waiting(journal)
    return found >= writers or size >= MAX_BYTES


def absorb_in_background(store: Store) -> bool:
    """Start a detached, niced absorber if it is due; returns whether one was started.

    A second one that starts meanwhile finds the lock taken and ends. The child outlives this process.
    """
    key, now = str(store.journal), time.monotonic()
    if now - _last_look.get(key, -_EVERY) < _EVERY:
        return False
    _last_look[key] = now
    _reap()
    if not is_due(store.journal, writers=1 if store.on_network else MAX_WRITERS):
        return False  # on a network only this host can absorb its journal: others see nothing of it before
    _children.append(_spawn(store))
    return True


def _reap() -> None:
    for pid in list(_children):
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done = pid  # somebody else waited for it, or a fork lies between
        if done:
            _children.remove(pid)


def _spawn(store: Store) -> int:
    import mlrun

    home = str(Path(mlrun.__file__).absolute().parent.parent)
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH", "")]))
    env["MLRUN_QUIET"] = "1"
    # -P: a file of the user's working folder must not stand in for a library
    command = [sys.executable, "-P", "-m", "mlrun.journal.absorber", str(store.folder)]
    if sys.platform == "win32":
        import subprocess

        return subprocess.Popen(command, env=env, creationflags=subprocess.DETACHED_PROCESS).pid
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    return os.posix_spawn(sys.executable, command, env, file_actions=quiet)
