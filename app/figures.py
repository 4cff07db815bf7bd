"""What the gateway counts of itself, in Prometheus's text format."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Figures"]

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_Labels = tuple[tuple[str, str], ...]


class Figures:
    """Counters, gauges and one kind of histogram; cheap to add to, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[_Labels, float]] = {}
        self._times: dict[str, dict[_Labels, list[float]]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._help: dict[str, str] = {}

    def describe(self, name: str, meaning: str) -> None:
        """Say what a figure means."""
        self._help[name] = meaning

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter; its name ends in `_total`."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            counts = self._counts.setdefault(name, {})
            counts[key] = counts.get(key, 0.0) + amount

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Count a duration in a histogram; its name ends in `_seconds`."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            row = self._times.setdefault(name, {}).setdefault(key, [0.0] * (len(_BOUNDS) + 2))
            row[bisect_left(_BOUNDS, seconds)] += 1
            row[-1] += seconds

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Have a figure read whenever somebody asks."""
        self._gauges[name] = read

    def text(self) -> str:
        """Return all figures in the text format 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for name, counts in sorted(self._counts.items()):
                lines += self._head(name, "counter")
                lines += [f"{name}{_shown(k)} {v:g}" for k, v in sorted(counts.items())]
            for name, times in sorted(self._times.items()):
                lines += self._head(name, "histogram")
                for key, row in sorted(times.items()):
                    lines += _histogram(name, key, row)
        for name, read in sorted(self._gauges.items()):
            lines += [*self._head(name, "gauge"), f"{name} {read():g}"]
        return "\n".join(lines) + "\n"

    def _head(self, name: str, kind: str) -> list[str]:
        told = [f"# HELP {name} {self._help[name]}"] if name in self._help else []
        return [*told, f"# TYPE {name} {kind}"]


def _histogram(name: str, key: _Labels, row: list[float]) -> list[str]:
    lines, total = [], 0.0
    for bound, count in zip((*_BOUNDS, "+Inf"), row[:-1], strict=True):
        total += count
        lines.append(f"{name}_bucket{_shown((*key, ('le', str(bound))))} {total:g}")
    lines.append(f"{name}_sum{_shown(key)} {row[-1]:g}")
    lines.append(f"{name}_count{_shown(key)} {total:g}")
    return lines


def _shown(labels: _Labels) -> str:
    if not labels:
        return ""
    pairs = (
        '{}="{}"'.format(k, v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for k, v in labels
    )
    return "{" + ",".join(pairs) + "}"
