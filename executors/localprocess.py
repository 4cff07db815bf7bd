"""One worker process of `local`, seen from the driver: started, asked, listened to, killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair

import mlrun
from mlrun.errors import ExecutorError

__all__ = ["WorkerProcess"]

_START = 60.0  # seconds that a worker may take to come up
_KEPT_OUTPUT = 4 << 20  # bytes at the end of what a call printed that are kept
_WARM = ("mlrun.execution.perform", "mlrun.journal.absorb", "mlrun.storage.sqlite")


class WorkerProcess:
    """A process that takes calls from a socket; what it prints goes to a file without a name.

    Attributes:
        pid: of the process, which leads a process group of its own.
        output: the file with what it printed since the last call began.
    """

    def __init__(self) -> None:
        self.output = tempfile.TemporaryFile(prefix="mlrun-", buffering=0)  # noqa: SIM115  lives as long as the worker
        os.set_blocking(self.output.fileno(), True)
        ours, theirs = socketpair()
        with theirs:
            self._conn = Connection(ours.detach())
            self._process = self._start(theirs.fileno())
        self.pid = self._process.pid
        self._ending = threading.Lock()
        self._ready = False
        self._conn.send_bytes(pickle.dumps((_import_path(), _WARM)))

    def _start(self, fd: int) -> subprocess.Popen[bytes]:
        home = str(Path(mlrun.__file__).absolute().parent.parent)
        env = dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH", "")]))
        env["MLRUN_QUIET"] = "1"
        env["PYTHONUNBUFFERED"] = "1"
        # -P: a file of the user's working folder must not stand in for a library while the worker starts
        command = [sys.executable, "-P", "-m", "mlrun.executors.localworker", str(fd)]
        append = os.open(f"/dev/fd/{self.output.fileno()}", os.O_WRONLY | os.O_APPEND)
        try:
            return subprocess.Popen(
                command, env=env, pass_fds=[fd], stdin=subprocess.DEVNULL, stdout=append,
                stderr=append, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(append)

    def wait_ready(self) -> None:
        """Wait until it has imported what it needs; at once the second time.

        Raises:
            ExecutorError: it did not come up; the message holds what it printed.
        """
        if self._ready:
            return
        try:
            if self._conn.poll(_START):
                self._conn.recv_bytes()
                self._ready = True
                return
        except (EOFError, OSError):
            pass  # it died while starting: what it printed is told below
        self.kill()
        said = self.read_output()[-2000:].decode("utf-8", "replace")
        raise ExecutorError(f"a worker process of 'local' did not start: {said or 'no message'}")

    def ask(self, call: bytes) -> bytes | None:
        """Send a call and wait for its answer; None when the process died."""
        try:
            self.output.truncate(0)
            self._conn.send_bytes(call)
            return self._conn.recv_bytes()
        except (EOFError, OSError):
            return None

    def read_output(self, start: int = 0) -> bytes:
        """Return what the present call printed so far, from byte `start` of it on."""
        return os.pread(self.output.fileno(), _KEPT_OUTPUT, start)

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def exit_text(self) -> str:
        """Say how the process ended."""
        code = self._process.wait()
        if code < 0:
            with suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def terminate(self, grace: float) -> None:
        """Ask it to end; after `grace` seconds kill it and all that it started. When this returns it is dead."""
        with self._ending, suppress(ProcessLookupError):
            if self._process.poll() is None and grace > 0:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(grace)
            self._kill_group()

    def kill(self) -> None:
        """Kill it and all that it started; when this returns it is dead."""
        with self._ending:
            self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Let an idle worker go, and release what belongs to it."""
        self._conn.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.kill()
        self.output.close()


def _import_path() -> list[str]:
    """The driver's import path, absolute, so that what it can import the worker can import too."""
    return [os.path.abspath(p) for p in sys.path]
