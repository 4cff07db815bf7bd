"""From a fresh process to the first logged value: what every short script pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.children import ChildFailed, time_script
from bench.figures import OURS, Figure
from bench.peers import PEERS
from bench.rounds import interleaved, say, subjects
from bench.trackers import start_script

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

_IMPORTS = {"tensorboard": "tensorboardX"}


def run(options: Options) -> list[Figure]:
    """Time the imports alone, and up to the end of the first `log()`; the interpreter's own start is not counted."""

    def measure(name: str, folder: Path) -> dict[str, Any]:
        peer = PEERS.get(name)
        place: dict[str, Any] = {"python": peer.python, "extra": peer.quiet} if peer else {}
        found: dict[str, float] = {}
        for part, code in (
            ("import", f"import {_IMPORTS.get(name, name)}"),
            ("first log", start_script(name, str(folder))),
        ):
            found[part] = time_script(code, **place)
        say(f"startup: {name}: {found['first log']:.3f} s")
        return found

    rounds = interleaved(
        subjects("startup", options), 3 if options.quick else 20, options.folder, measure
    )
    out = []
    for name, found in rounds.items():
        if not found:
            raise ChildFailed(f"{name} was never measured")
        ours = name == OURS
        out += [
            Figure.median(
                "import, start a run, log a value, fresh process",
                [r["first log"] for r in found],
                "s",
                subject=name,
                goal="<= 0.25" if ours else "",
            ),
            Figure.median("import alone", [r["import"] for r in found], "s", subject=name),
        ]
    return out
