"""How the test operator runs a RayJob's entrypoint: as a process beside a Ray cluster, or through Ray's Jobs API."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JobsRun", "Log", "ProcessRun", "Run", "missing_requirements", "through_shell"]


class Log:
    """Lines with their times, that one thread adds and others read."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: list[tuple[float, str]] = []
        self._ended = False

    def add(self, line: str) -> None:
        """Put a line behind the others."""
        with self._changed:
            self._lines.append((time.time(), line))
            self._changed.notify_all()

    def end(self) -> None:
        """Say that no line follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether no line follows."""
        return self._ended

    def read(self, at: int, seconds: float) -> tuple[list[tuple[float, str]], bool]:
        """Return the lines from `at` on, waiting for one, and whether no more will follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._lines) > at, seconds)
            return self._lines[at:], self._ended

    def text(self) -> str:
        """Return all of it."""
        with self._changed:
            return "".join(f"{line}\n" for _, line in self._lines)


class Run(Protocol):
    """An entrypoint that was started."""

    log: Log

    def state(self) -> tuple[str, str]:
        """Return Ray's word for its state, and a message."""
        ...

    def stop(self) -> None:
        """End it and all that it started."""
        ...


class ProcessRun:
    """An entrypoint as a process group of its own, as Ray's job supervisor runs it.

    Args:
        entrypoint: a line for the shell.
        env: of the container and the runtime environment, over this process's own.
        log: where its lines go.
    """

    def __init__(self, entrypoint: str, env: Mapping[str, str], log: Log) -> None:
        own = {k: v for k, v in os.environ.items() if not k.startswith("MLRUN_")}
        self.log = log
        self._stopped = False
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", entrypoint],
            env={**own, "PATH": _path(), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process, which leads its group."""
        return self._process.pid

    def state(self) -> tuple[str, str]:
        """Return RUNNING, STOPPED, SUCCEEDED or FAILED, and a message."""
        code = self._process.poll()
        if code is None or self._thread.is_alive():
            return "RUNNING", ""
        if self._stopped:
            return "STOPPED", "Job was intentionally stopped."
        if code == 0:
            return "SUCCEEDED", "Job finished successfully."
        return "FAILED", f"Job entrypoint command failed with exit code {code}"

    def stop(self) -> None:
        """Kill the process group, and wait until it is gone."""
        self._stopped = self._process.poll() is None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join(10)

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            for line in stream:
                self.log.add(line.decode("utf-8", "replace").rstrip("\r\n"))
        self._process.wait()


class JobsRun:
    """An entrypoint as a job of a Ray cluster, through the REST interface of its dashboard.

    Args:
        dashboard: its URL.
        token: for it; empty for none.
        job_id: submission id.
        entrypoint: a line for the shell.
        runtime_env: Ray's.
        log: where its lines go.
    """

    def __init__(
        self,
        dashboard: str,
        token: str,
        job_id: str,
        entrypoint: str,
        runtime_env: Mapping[str, Any],
        log: Log,
    ) -> None:
        self.log = log
        self._url, self._token, self._job_id = dashboard.rstrip("/"), token, job_id
        self._taken = 0
        variables = {"PATH": _path(), **runtime_env.get("env_vars", {})}
        body = {
            "entrypoint": entrypoint,
            "submission_id": job_id,
            "runtime_env": {**runtime_env, "env_vars": variables},
            "metadata": {},
        }
        self._ask("POST", "api/jobs/", body)

    def state(self) -> tuple[str, str]:
        """Return Ray's word for its state, and its message."""
        found = self._ask("GET", f"api/jobs/{self._job_id}")
        state = str(found["status"])
        text = str(self._ask("GET", f"api/jobs/{self._job_id}/logs").get("logs", ""))
        whole = text[: text.rfind("\n") + 1] if state in ("PENDING", "RUNNING") else text
        for line in whole[self._taken :].splitlines():
            self.log.add(line)
        self._taken = max(self._taken, len(whole))
        return state, str(found.get("message") or "")

    def stop(self) -> None:
        """Stop the job, and wait until Ray says that it has ended."""
        self._ask("POST", f"api/jobs/{self._job_id}/stop", {})
        while self.state()[0] in ("PENDING", "RUNNING"):
            time.sleep(0.1)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        with urlopen(
            Request(f"{self._url}/{path}", data, headers, method=method), timeout=60
        ) as got:
            return json.loads(got.read() or b"{}")


def _path() -> str:
    """Return a search path on which `python` is this one: what an image would see to."""
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])


def through_shell(text: str) -> str:
    """Return what becomes of a text that the operator pastes between double quotes of a shell line."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    done = subprocess.run(
        ["/bin/bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True, timeout=60
    )
    return done.stdout.decode()


def missing_requirements(requirements: list[str]) -> str:
    """Return the first requirement that is not installed here, where pip cannot be asked; empty if all are."""
    from importlib.metadata import PackageNotFoundError, version

    for requirement in requirements:
        name = requirement.partition("[")[0]
        for sign in "=<>!~; ":
            name = name.partition(sign)[0]
        try:
            version(name)
        except PackageNotFoundError:
            return requirement
    return ""
