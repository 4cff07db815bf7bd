"""Processes that talk to a gateway on this host: trackers with a spool of their own, and users."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from bench.children import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Client", "let_in", "loop_late"]

_BOOT = f"import sys; sys.path.append({str(ROOT)!r}); from bench.children import main; main()"


class Client:
    """A process of `bench` with this host's network; a context manager that leaves none behind.

    Args:
        function: `module:function` of `bench`, called with `arguments` in the process.
        env: its environment.
        arguments: anything that JSON can hold.
    """

    def __init__(self, function: str, env: dict[str, str], **arguments: Any) -> None:
        command = [sys.executable, "-P", "-c", _BOOT, function, json.dumps(arguments)]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    def answer(self) -> dict[str, Any]:
        """Wait for the end and return what the function returned; RuntimeError if it returned nothing."""
        out, _ = self.process.communicate(timeout=900)
        last = [line for line in out.splitlines() if line.startswith("@answer ")]
        if not last:
            raise RuntimeError(f"a client ended with {self.process.returncode}: {out[-500:]}")
        found: dict[str, Any] = json.loads(last[-1].removeprefix("@answer "))
        return found

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def let_in(state: Path, spool: Path) -> dict[str, str]:
    """Return the environment of processes that a gateway with this state folder lets in."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLRUN_")}
    return {
        **kept, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state), "MLRUN_QUIET": "1",
        "MLRUN_SPOOL": str(spool),
    }  # fmt: skip


def loop_late(url: str, token: str) -> float:
    """Return the seconds by which a gateway's event loop was late at most, in the last minute."""
    asked = Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urlopen(asked, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    found = next(line for line in lines if line.startswith("mlrun_gateway_loop_late_seconds "))
    return float(found.split()[1])
