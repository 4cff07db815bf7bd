"""Repetitions of one measurement over several trackers, interleaved: what disturbs the machine disturbs all of them."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.children import ChildFailed, call
from bench.figures import OURS
from bench.peers import PEERS, installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Options

__all__ = ["fresh", "interleaved", "run_as", "say", "settle", "subjects"]

_SETTLE_SECONDS = 120.0


def say(text: str) -> None:
    """Tell how far we are."""
    print(text, file=sys.stderr, flush=True)


def fresh(folder: Path, prefix: str) -> Path:
    """Make an empty folder; whoever asked deletes it."""
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-".replace(" ", "-"), dir=folder))


def subjects(workload: str, options: Options, *, yardsticks: tuple[str, ...] = ()) -> list[str]:
    """Return the names of what is measured: ours, and the peers that are installed if they are asked for."""
    if not options.peers:
        return [OURS]
    found, missing = installed(workload)
    for name in missing:
        say(f"{workload}: {name} is not installed (python -m bench.peers setup {name})")
    return [OURS, *yardsticks, *(p.name for p in found)]


def run_as(subject: str, function: str, **arguments: Any) -> dict[str, Any]:
    """Call a function of `bench.trackers.loops` in the interpreter of a tracker."""
    peer = PEERS.get(subject)
    if peer is not None:
        arguments |= {"python": peer.python, "extra": peer.quiet}
    return call(f"bench.trackers.loops:{function}", tracker=subject, **arguments)


def settle(folder: Path) -> None:
    """Wait for absorbers that work below `folder`: they must neither slow the next measurement nor lose their store."""
    until = time.monotonic() + _SETTLE_SECONDS
    while _absorbers(str(folder)) and time.monotonic() < until:
        time.sleep(0.05)


def _absorbers(folder: str) -> bool:
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended
        if "mlrun.journal.absorber" in command and folder in command:
            return True
    return False


def interleaved(
    names: list[str], repeats: int, folder: Path, measure: Callable[[str, Path], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Measure every subject once per round, each time in a fresh folder; one that fails is said and left out."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for round_ in range(repeats):
        for name in list(out):
            place = fresh(folder, name)
            try:
                out[name].append(measure(name, place))
            except ChildFailed as error:
                if name == OURS:
                    raise
                say(f"{name} failed in round {round_ + 1} and is left out: {error}")
                del out[name]
            finally:
                settle(place)
                shutil.rmtree(place, ignore_errors=True)
    return out
