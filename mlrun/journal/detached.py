"""Programs of ours that run beside a training process and outlive it: the absorber, the uploader."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["reap", "stand_back", "start_detached"]

_children: list[int] = []


def start_detached(module: str, argument: str, **variables: str) -> None:
    """Start `python -m module argument`, which nobody waits for; it says nothing on this process's streams.

    Args:
        module: of this package.
        argument: one, told as it is.
        **variables: for its environment, beside this process's own.
    """
    import mlrun

    home = str(Path(mlrun.__file__).absolute().parent.parent)
    env = {**os.environ, "MLRUN_QUIET": "1", **variables}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH", "")]))
    # -P: a file of the user's working folder must not stand in for a library
    command = [sys.executable, "-P", "-m", module, argument]
    if sys.platform == "win32":
        import subprocess

        detached = subprocess.DETACHED_PROCESS
        _children.append(subprocess.Popen(command, env=env, creationflags=detached).pid)
        return
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    _children.append(os.posix_spawn(sys.executable, command, env, file_actions=quiet))


def stand_back(nice: int) -> None:
    """Let what people wait for go first, and leave the terminal's session; for a program of ours, at its start.

    Args:
        nice: how much, 1 to 19.
    """
    if hasattr(os, "setsid") and os.getpid() != os.getsid(0):
        os.setsid()
    if hasattr(os, "nice"):
        os.nice(nice)
        with suppress(
            OSError
        ):  # Linux shares time among sessions first, and within one by priority
            Path("/proc/self/autogroup").write_text(str(nice), encoding="ascii")


def reap() -> None:
    """Let go of those that have ended."""
    for pid in list(_children):
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done = pid  # somebody else waited for it, or a fork lies between
        if done:
            _children.remove(pid)


def _renew_after_fork() -> None:
    _children.clear()  # they are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
