"""How values are said: stored text as text, times as a moment ago, numbers short."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["ago", "bytes_of", "lasting", "plain", "short"]

# what Streamlit's Markdown gives a meaning: markup, links, emoji and colour shortcodes, formulas, HTML
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=@/])")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_AGES = ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h"), (86400 * 60, 86400, "d"))


def plain(value: Any) -> str:
    """Return stored text for a place that takes Markdown: nothing in it is markup there."""
    return _MARKUP.sub(r"\\\1", " ".join(str(value).split())) if value is not None else ""


def short(value: Any) -> str:
    """Return a number in at most six digits, anything else as its text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int) and abs(value) < 1_000_000:
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was: `5 min ago`."""
    if moment is None:
        return ""
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    if seconds < 5:
        return "just now"
    for below, scale, unit in _AGES:
        if seconds < below:
            return f"{int(seconds / scale)} {unit} ago"
    return at.strftime("%Y-%m-%d")


def lasting(duration: timedelta | None) -> str:
    """Return a duration: `1 h 05 min`, `3.2 s`."""
    if duration is None:
        return ""
    seconds = duration.total_seconds()
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def bytes_of(size: float | None) -> str:
    """Return a number of bytes: `12.3 MB`."""
    if size is None:
        return ""
    value = float(size)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.3g} {unit}" if unit != "B" else f"{int(value)} B"
        value /= 1000
    return ""
