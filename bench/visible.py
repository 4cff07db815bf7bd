"""From `log()` to another process: one process logs a value every 10 ms, another asks for it by the public face.

The delay of a value runs from the begin of its `log()` to the end of the first question that had it, or a later one,
in its answer. Both processes read the same monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.children import Child, ChildFailed
from bench.figures import OURS, Figure, percentile
from bench.peers import PEERS
from bench.rounds import interleaved, say, subjects

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

_EVERY = 0.01
_PATIENCE = 20.0  # seconds without news, then the rest counts as not seen
_LIMIT = 180.0


def run(options: Options) -> list[Figure]:
    """Measure the delay: ours and the peers'."""
    number = 200 if options.quick else 1_500

    def measure(name: str, folder: Path) -> dict[str, Any]:
        found = _delays(name, folder, number)
        say(f"visible: {name}: p95 {found['p95']:.1f} ms")
        return found

    names = subjects("visible", options, yardsticks=("JSON lines",))
    rounds = interleaved(names, 1 if options.quick else 3, options.folder, measure)
    out = []
    for name, found in rounds.items():
        for which in ("p50", "p95", "max"):
            goal = "<= 10" if name == OURS and which == "p95" else ""
            title = f"log() to another process, 100 a second, {which}"
            values = [r[which] for r in found]
            out.append(Figure.median(title, values, "ms", subject=name, goal=goal))
        unseen = sum(r["unseen"] for r in found)
        out.append(Figure("values not seen", unseen, "", name, "0" if name == OURS else ""))
        rate = [r["rate"] for r in found]
        out.append(Figure.median("values really logged a second", rate, "/s", subject=name))
    return out


def _delays(name: str, folder: Path, number: int) -> dict[str, Any]:
    """Start a writer and a reader, let them meet, and compare their clocks."""
    peer = PEERS.get(name)
    place = (peer.python, peer.quiet) if peer else ()
    given = {"tracker": name, "folder": str(folder), "number": number}
    loops = "bench.trackers.loops"
    writer = Child(f"{loops}:write_steadily", {**given, "every": _EVERY}, *place)
    reader = None
    try:
        run_id = writer.line()
        wanted = {**given, "run_id": run_id, "patience": _PATIENCE}
        reader = Child(f"{loops}:watch", wanted, *place)
        reader.line()
        writer.send("go")
        seen = reader.answer(_LIMIT)["seen"]
        writer.send("done")
        began = writer.answer(_LIMIT)["began"]
    finally:
        for child in filter(None, (writer, reader)):
            child.stop()
    return _compare(began, seen)


def _compare(began: list[float], seen: list[tuple[float, float]]) -> dict[str, Any]:
    delays = []
    at = 0
    for i, begin in enumerate(began):
        while at < len(seen) and seen[at][0] < i:
            at += 1
        if at == len(seen):
            break
        delays.append((seen[at][1] - begin) * 1000)
    if not delays:
        raise ChildFailed("nothing that was logged was ever seen")
    return {
        "p50": percentile(delays, 50),
        "p95": percentile(delays, 95),
        "max": max(delays),
        "unseen": len(began) - len(delays),
        "rate": (len(began) - 1) / (began[-1] - began[0]),
    }
