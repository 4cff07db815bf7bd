"""What a runner finds out: figures, and how they are written down."""

from __future__ import annotations

import math
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["OURS", "Figure", "Options", "machine", "percentile", "report", "table"]

OURS = "mlrun"


@dataclass(frozen=True)
class Options:
    """How a runner is asked to run.

    Attributes:
        folder: an empty folder for stores; deleted afterwards.
        quick: small sizes, to see that the runner works; its figures say little.
        peers: measure the peers that are installed, in the same run.
        runs: number of runs of `w1`; 0 for its own choice.
        stores: where `w1` keeps its stores and finds those that it made before; None for none.
        load: only make the stores of `w1`.
        records, series: of `w1` and `w2`: another database than that of a folder, "postgresql" or "clickhouse".
    """

    folder: Path
    quick: bool = False
    peers: bool = False
    runs: int = 0
    stores: Path | None = None
    load: bool = False
    records: str = ""
    series: str = ""


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the median of the repetitions.
        unit: of the value.
        subject: mlrun, or the name of a peer.
        goal: what we want, such as "<= 5"; empty for peers and where nothing is set.
        each: the repetitions.
        note: what differs from the other subjects, or limits the meaning.
        less: measured on less than the others had to carry; such a figure is left out of ratios.
    """

    name: str
    value: float
    unit: str
    subject: str = OURS
    goal: str = ""
    each: tuple[float, ...] = field(default=())
    note: str = ""
    less: bool = False

    @classmethod
    def median(
        cls,
        name: str,
        values: Iterable[float],
        unit: str,
        *,
        subject: str = OURS,
        goal: str = "",
        note: str = "",
        less: bool = False,
    ) -> Figure:
        """Make a figure from repetitions."""
        each = tuple(float(v) for v in values)
        return cls(name, statistics.median(each), unit, subject, goal, each, note, less)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least value that `share` percent of the values do not exceed (nearest rank)."""
    return sorted(values)[max(math.ceil(len(values) * share / 100) - 1, 0)]


def report(workload: str, figures: Sequence[Figure], seconds: float) -> dict[str, Any]:
    """Return what goes into the JSON file."""
    return {
        "workload": workload,
        "seconds": round(seconds, 1),
        "figures": [asdict(f) for f in figures],
    }


def table(workload: str, figures: Sequence[Figure]) -> str:
    """Draw figures as a Markdown table: a row a figure, a column a subject, and the best peer over ours."""
    subjects = list(dict.fromkeys([OURS, *(f.subject for f in figures)]))
    names = list(dict.fromkeys(f.name for f in figures))
    by = {(f.name, f.subject): f for f in figures}
    others = subjects[1:]
    head = [workload, OURS, "goal", *others] + (["best peer : mlrun"] if others else [])
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in names:
        found = [by.get((name, s)) for s in subjects]
        unit = next(f.unit for f in found if f)
        cells = [number(f.value) + "*" * f.less if f else "" for f in found]
        goal = found[0].goal if found[0] else ""
        row = [f"{name}, {unit}" if unit else name, cells[0], goal, *cells[1:]]
        rows.append(row + ([_ratio(found)] if others else []))
    notes = [f"- {f.subject}, {f.name}: {f.note}" for f in figures if f.note]
    lines = ["| " + " | ".join(r) + " |" for r in rows]
    return "\n".join([*lines, *([""] if notes else []), *dict.fromkeys(notes)])


def number(value: float) -> str:
    """Write a number with three digits that say something."""
    if value != value or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _ratio(found: Sequence[Figure | None]) -> str:
    """Return how many times better we are than the best peer (below 1: worse)."""
    ours, peers = found[0], [f.value for f in found[1:] if f and not f.less]
    if ours is None or not peers or not ours.value:
        return ""
    more_is_better = ours.unit.endswith("/s")
    best = max(peers) if more_is_better else min(peers)
    return number(ours.value / best if more_is_better else best / ours.value) if best else ""


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    import mlrun

    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) // 1_048_576
    return {
        "cpus": os.cpu_count(),
        "memory_gb": memory,
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "mlrun": mlrun.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "load": round(os.getloadavg()[0], 2),
    }
