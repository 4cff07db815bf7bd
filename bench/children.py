"""Child processes of the runners: clean, without a network, with their memory watched.

Every measurement happens in a process of its own, ours and the peers' by the same code: `call` names a function of
`bench`, which the child imports, calls, and answers with JSON.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Child",
    "ChildFailed",
    "call",
    "environment",
    "main",
    "memory_of",
    "tell",
    "time_script",
]

ROOT = Path(__file__).parents[1]
_MARK, _TOLD = "@answer ", "@told "
# our folder comes last: nothing in it may stand in for a library of the peer
_BOOT = f"import sys; sys.path.append({str(ROOT)!r}); from bench.children import main; main()"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_FLAGS, _UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP


class ChildFailed(Exception):
    """A child ended without an answer; the message holds the end of what it said."""


class Child:
    """A running child: lines from it, lines to it, and its answer.

    Args:
        function: `module:function` of `bench`, called with `arguments` in the child.
        python: interpreter.
        extra: environment variables on top of ours.
        arguments: anything that JSON can hold.
    """

    def __init__(
        self,
        function: str,
        arguments: Mapping[str, Any],
        python: Path | str = sys.executable,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.function = function
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  until `stop`
        self.process = subprocess.Popen(
            [str(python), "-P", "-c", _BOOT, function, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(extra),
            preexec_fn=cut_network,
        )

    def line(self) -> str:
        """Wait for what the child says with `tell`; other lines are the tracker's and are skipped.

        Raises:
            ChildFailed: it ended instead.
        """
        assert self.process.stdout is not None
        for line in iter(self.process.stdout.readline, ""):
            if line.startswith(_TOLD):
                return line.removeprefix(_TOLD).strip()
        raise ChildFailed(self._complaint())

    def send(self, line: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, timeout: float = 3600) -> dict[str, Any]:
        """Wait for the end and return what the function returned.

        Raises:
            ChildFailed: it raised, was killed, or took more than `timeout` seconds, after which it is killed.
        """
        alarm = threading.Timer(timeout, self.process.kill)
        alarm.start()
        try:
            assert self.process.stdout is not None
            out = self.process.stdout.read()
            self.process.wait()
            found: dict[str, Any] | None = _answer(out)
            if found is None:
                raise ChildFailed(self._complaint())
            return found
        finally:
            alarm.cancel()
            self.stop()

    def stop(self) -> None:
        """Kill it, if it still runs, and release its files; idempotent."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a line that it never read
                    pipe.close()

    def _complaint(self) -> str:
        self.process.kill()
        code = self.process.wait()
        self._errors.seek(0)
        return f"{self.function} ended with {code}: {self._errors.read().strip()[-1500:]}"


def call(
    function: str,
    *,
    python: Path | str = sys.executable,
    extra: Mapping[str, str] | None = None,
    timeout: float = 3600,
    watch: bool = False,
    **arguments: Any,
) -> dict[str, Any]:
    """Call `module:function(**arguments)` in a fresh process and return its answer.

    Args:
        function: such as `bench.trackers.loops:calls`.
        python: interpreter.
        extra: environment variables on top of ours.
        timeout: seconds until the child is killed.
        watch: sample its memory; the answer gets `uss_peak` and `rss_peak`, bytes.
        **arguments: anything that JSON can hold.

    Raises:
        ChildFailed: it raised, was killed, or took too long.
    """
    child = Child(function, arguments, python, extra)
    peaks = {"uss_peak": 0, "rss_peak": 0}
    done = threading.Event()
    if watch:
        sampler = threading.Thread(
            target=_sample, args=(child.process.pid, peaks, done), daemon=True
        )
        sampler.start()
    try:
        answer = child.answer(timeout)
    finally:
        done.set()
    return answer | peaks if watch else answer


def _answer(out: str) -> Any:
    """Find the answer in what a child printed; None if there is none."""
    for line in reversed(out.splitlines()):
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    return None


def time_script(
    code: str,
    *,
    python: Path | str = sys.executable,
    extra: Mapping[str, str] | None = None,
    before: str = "",
) -> float:
    """Return the seconds that `code` takes in a fresh interpreter that has loaded `before` (a statement)."""
    script = f"""
import sys, time
{before}
sys.path.append({str(ROOT)!r})
begin = time.perf_counter()
{code}
taken = time.perf_counter() - begin
import os
print({_MARK!r} + str(taken), flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [str(python), "-P", "-c", script],
        env=environment(extra),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=cut_network,
    )
    taken = _answer(done.stdout)
    if taken is None:
        raise ChildFailed(f"{code.strip()} ended with {done.returncode}: {done.stderr[-1500:]}")
    return float(taken)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: ours without what points Python or mlrun somewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLRUN_"))}
    return {**kept, "MLRUN_QUIET": "1", "PYTHONWARNINGS": "ignore", **(extra or {})}


def cut_network() -> None:
    """Leave the child nothing but a loopback of its own, where we may; else its settings must keep it silent."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    if ctypes.CDLL(None).unshare(_NEW_NETWORK):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))


def memory_of(pid: int | str = "self") -> dict[str, int]:
    """Return bytes: `rss`, `uss` (pages that no other process maps), `anonymous` (pages of no file)."""
    found = {"Rss": 0, "Private_Clean": 0, "Private_Dirty": 0, "Anonymous": 0}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return {
        "rss": found["Rss"],
        "uss": found["Private_Clean"] + found["Private_Dirty"],
        "anonymous": found["Anonymous"],
    }


def _sample(pid: int, peaks: dict[str, int], done: threading.Event) -> None:
    while not done.wait(0.01):
        try:
            now = memory_of(pid)
        except (OSError, ValueError):
            return  # it has ended
        peaks["uss_peak"] = max(peaks["uss_peak"], now["uss"])
        peaks["rss_peak"] = max(peaks["rss_peak"], now["rss"])


def tell(text: str) -> None:
    """Say a line to whoever started us: in the child."""
    print(_TOLD + text, flush=True)


def main() -> None:
    """Do what the command line says: in the child."""
    from importlib import import_module

    module, _, name = sys.argv[1].partition(":")
    answer = getattr(import_module(module), name)(**json.loads(sys.argv[2]))
    print(_MARK + json.dumps(answer), flush=True)
    os._exit(0)  # threads of peers may hang for seconds; what counts was finished before
