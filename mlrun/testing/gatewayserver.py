"""A real gateway for tests: `mlrun server` in a process of its own, on a free port of this host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["GatewayServer"]

_STOP_SECONDS = 30.0


class GatewayServer:
    """A gateway over a store, and the state folder in which its token lies; a context manager.

    Args:
        dbpath: folder of the store that is served.
        options: more words for `mlrun server`.
        state: where tokens, keys and spools lie (`XDG_STATE_HOME`); processes that shall be let in have the same.
        environ: more environment variables of the process.
        answer_processes: that work out answers, each a process; default as many as a gateway starts by itself.

    Attributes:
        url: of the gateway, once it is entered.
        told: what it said when it listened: url, store, access, ports.
        log: the file with what it logs.
    """

    def __init__(
        self,
        dbpath: Path,
        *options: str,
        state: Path | None = None,
        environ: dict[str, str] | None = None,
        answer_processes: int | None = None,
    ) -> None:
        if answer_processes is not None:
            options = (*options, "--answer-processes", str(answer_processes))
        self.dbpath = dbpath
        self.state = state or Path(tempfile.mkdtemp(prefix="mlrun-state-"))
        self.state.mkdir(parents=True, exist_ok=True)
        self.url = ""
        self.told: dict[str, Any] = {}
        self.log = self.state / "gateway.log"
        self._options = options
        self._environ = environ or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> GatewayServer:
        """Start it, and return when it listens."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it as an operator does."""
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def token(self) -> str:
        """The token of a gateway without keys; empty when it has some."""
        port = self.url.rpartition(":")[2]
        path = self.state / "mlrun" / "gateways" / f"{port}.token"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def start(self, port: int = 0) -> None:
        """Start the process; after a stop, at the port it had if that is given."""
        command = [sys.executable, "-P", "-m", "mlrun.cli", "--store", str(self.dbpath), "server"]
        command += ["--port", str(port), "--json", *self._options]
        if not any("flight" in word for word in self._options):
            command += ["--flight-port", "0"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLRUN_")}
        environ = {**kept, "XDG_STATE_HOME": str(self.state), **self._environ}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environ, start_new_session=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise RuntimeError(f"the gateway did not start: {self.log.read_text()[-2000:]}")
        said = json.loads(line if line.rstrip().endswith(b"]") else line + self._rest(line))
        self.told = said[0] if isinstance(said, list) else said
        self.url = self.told["url"]

    def _rest(self, first: bytes) -> bytes:
        """Return the other lines of a list of JSON that is written on several."""
        assert self._process is not None
        assert self._process.stdout is not None
        if not first.startswith(b"["):
            return b""
        lines: list[bytes] = []
        while not lines or not lines[-1].startswith(b"]"):
            lines.append(self._process.stdout.readline())
        return b"".join(lines)

    def stop(self) -> int:
        """Ask it to end, and wait; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a power failure does to a process."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it at the same port."""
        port = int(self.url.rpartition(":")[2])
        self.stop()
        self.start(port)

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        code = self._process.wait(_STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        return code
