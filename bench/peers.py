"""Peers, each in an environment of its own: `python -m bench.peers setup [name ...]` makes them with uv.

What a peer needs to run, and how it is kept from talking to a network, is told here; how it is driven, in
`bench.trackers`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEERS", "Peer", "installed", "main"]

ROOT = Path(__file__).parents[1]
VENVS = Path(__file__).parent / "venvs"


@dataclass(frozen=True)
class Peer:
    """Another tracker.

    Attributes:
        name: as users call it.
        packages: what its environment holds, pinned.
        quiet: environment variables that switch off telemetry, prompts and background samplers.
        workloads: those of `bench` that mean something for it.
    """

    name: str
    packages: tuple[str, ...]
    quiet: dict[str, str]
    workloads: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return VENVS / self.name / "bin" / "python"


_EVERYBODY = {"DO_NOT_TRACK": "1", "NO_COLOR": "1", "GIT_PYTHON_REFRESH": "quiet"}

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "mlflow",
            ("mlflow==3.17.2",),
            {**_EVERYBODY, "MLFLOW_DISABLE_TELEMETRY": "true"},
            ("log_cost", "visible", "w1", "charts", "startup"),
        ),
        Peer(
            "wandb",
            ("wandb==0.31.0",),
            {
                **_EVERYBODY,
                "WANDB_MODE": "offline",
                "WANDB_SILENT": "true",
                "WANDB_CONSOLE": "off",
                "WANDB_ERROR_REPORTING": "false",
                "WANDB__DISABLE_STATS": "true",
            },
            ("log_cost", "startup"),
        ),
        Peer(
            "aim",
            ("aim==3.29.1",),
            {**_EVERYBODY, "AIM_UI_TELEMETRY_ENABLED": "0"},
            ("log_cost", "visible", "w1", "charts", "startup"),
        ),
        Peer(
            "trackio",
            ("trackio==0.43.0",),
            {
                **_EVERYBODY,
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "GRADIO_ANALYTICS_ENABLED": "False",
                "TRACKIO_AUTO_LOG_GPU": "0",
            },
            ("log_cost", "visible", "w1", "charts", "startup"),
        ),
        Peer(
            "tensorboard",
            ("tensorboardX==2.6.5", "tensorboard==2.21.0", "setuptools<81"),
            _EVERYBODY,
            ("log_cost", "visible", "charts", "startup"),
        ),
    )
}


def installed(workload: str) -> tuple[list[Peer], list[str]]:
    """Return the peers that can run a workload, and the names of those whose environment is missing."""
    wanted = [p for p in PEERS.values() if workload in p.workloads]
    return [p for p in wanted if p.python.exists()], [
        p.name for p in wanted if not p.python.exists()
    ]


def main(arguments: list[str]) -> int:
    """Run `setup [name ...]`; 1 when a peer does not install."""
    if arguments[:1] != ["setup"] or not set(arguments[1:]) <= set(PEERS):
        print(f"usage: python -m bench.peers setup [{'|'.join(PEERS)} ...]", file=sys.stderr)
        return 2
    failed = [name for name in arguments[1:] or PEERS if not _set_up(PEERS[name])]
    for name in failed:
        print(f"{name} does not install: see {_log(name).relative_to(ROOT)}", file=sys.stderr)
    return 1 if failed else 0


def _set_up(peer: Peer) -> bool:
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    folder = VENVS / peer.name
    VENVS.mkdir(exist_ok=True)
    steps = [
        [uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(peer.python), *peer.packages],
    ]
    env = {**os.environ, "UV_NO_PROGRESS": "1", "UV_NATIVE_TLS": "1"}
    with open(_log(peer.name), "w", encoding="utf-8") as log:
        for command in steps:
            if subprocess.run(command, env=env, stdout=log, stderr=subprocess.STDOUT).returncode:
                shutil.rmtree(folder, ignore_errors=True)  # half an environment is none
                return False
    print(f"{peer.name}: {', '.join(peer.packages)}")
    return True


def _log(name: str) -> Path:
    return VENVS / f"{name}.log"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
