"""Progress of a hyperparameter job on stderr: how far, how fast, the best so far."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.hyper.selector import Selector

__all__ = ["Progress"]

_REDRAW = 0.1  # seconds between two pictures on a terminal
_LINE = 10.0  # seconds between two lines elsewhere
_BAR = 24


class Progress:
    """Counts outcomes and shows them; silent when `shown` is off.

    Args:
        total: iterations to come, or None when nobody knows.
        selector: what the best is told by.
        shown: whether anything is written.
    """

    def __init__(self, total: int | None, selector: Selector | None, *, shown: bool) -> None:
        self._total = total
        self._selector = selector
        self._shown = shown and sys.stderr is not None
        self._terminal = self._shown and sys.stderr.isatty()
        self._begin = self._drawn = time.monotonic()
        self._done = self._failed = 0
        self._best: tuple[float, int] | None = None

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Count one outcome."""
        self._done += 1
        self._failed += outcome.get("state") == "error"
        if self._selector is not None:
            value = self._selector.number(outcome)
            if value is not None and self._selector.better(
                value, self._best[0] if self._best else None
            ):
                self._best = value, outcome["iteration"]
        now = time.monotonic()
        if self._shown and now - self._drawn >= (_REDRAW if self._terminal else _LINE):
            self._drawn = now
            self._write()

    def close(self) -> None:
        """Write the last line."""
        if self._shown:
            self._write()
            if self._terminal:
                _write("\n")

    def text(self) -> str:
        """Return the line."""
        seconds = max(time.monotonic() - self._begin, 1e-9)
        whole = "" if self._total is None else f"/{self._total:,}"
        parts = [f"{self._done:,}{whole} iterations", f"{self._done / seconds:,.1f}/s"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self._best is not None and self._selector is not None:
            parts.append(
                f"best so far: {self._selector.key} {self._best[0]:.6g} (iteration {self._best[1]})"
            )
        bar = ""
        if self._total:
            full = min(_BAR, _BAR * self._done // self._total)
            bar = f"[{'#' * full}{'.' * (_BAR - full)}] "
        return bar + ", ".join(parts)

    def _write(self) -> None:
        text = self.text()
        _write(f"\r\x1b[2K{text}" if self._terminal else f"mlrun: {text}\n")


def _write(text: str) -> None:
    """Write on stderr, past what captures it for a run: progress is nobody's log."""
    write = sys.stderr.write
    while (tap := getattr(write, "tap", None)) is not None:
        write = tap.write
    with suppress(OSError, ValueError):  # a closed stderr
        write(text)
        sys.stderr.flush()
