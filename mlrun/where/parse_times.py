"""Times and durations as people write them -> microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["DURATION_HINT", "TIME_HINT", "microseconds_of", "read_duration", "read_time", "unit_of"]

TIME_HINT = "write '2026-01-31', '2026-01-31 12:00' or '2026-01-31T12:00:00+01:00'"
DURATION_HINT = "write '7 days', '1h 30m' or '90 s' (units: us ms s m h d w)"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
_UNITS = {
    "us": 1, "microsecond": 1,
    "ms": 1_000, "millisecond": 1_000,
    "s": _SECOND, "sec": _SECOND, "second": _SECOND,
    "m": 60 * _SECOND, "min": 60 * _SECOND, "minute": 60 * _SECOND,
    "h": 3600 * _SECOND, "hr": 3600 * _SECOND, "hour": 3600 * _SECOND,
    "d": 86_400 * _SECOND, "day": 86_400 * _SECOND,
    "w": 7 * 86_400 * _SECOND, "week": 7 * 86_400 * _SECOND,
}  # fmt: skip
_STEP = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{0,6})?|\.[0-9]{1,6})\s*([^\W\d_]+)\s*,?")
_LIMIT = 10_000 * 366 * _UNITS["day"]  # sums of a few stay far inside 64 bits


def read_time(text: str) -> int | None:
    """Return the microseconds since the epoch of an ISO 8601 text (UTC if it has no zone), or None."""
    try:
        found = datetime.fromisoformat(text.strip())
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        return (found - _EPOCH) // _MICROSECOND
    except (
        ValueError,
        OverflowError,
    ):  # no time, or none of the years 1 to 9999: the caller says so
        return None


def unit_of(word: str) -> int | None:
    """Return how many microseconds a unit has, or None."""
    lower = word.lower()
    return _UNITS.get(lower) or (_UNITS.get(lower[:-1]) if lower.endswith("s") else None)


def microseconds_of(amount: str, unit: int) -> int | None:
    """Return `amount` (plain decimal digits) times `unit`, or None if that is out of bounds."""
    whole, _, part = amount.partition(".")
    total = int(whole or 0) * unit + int((part or "0").ljust(6, "0")) * unit // _SECOND
    return total if total <= _LIMIT else None


def read_duration(text: str) -> int | None:
    """Return the microseconds of `1h 30m`, `7 days`, `-90 s`, or None."""
    rest = text.strip()
    negative = rest.startswith("-")
    rest = rest.removeprefix("-")
    total, at = 0, 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        unit = unit_of(found.group(2)) if found else None
        if found is None or unit is None:
            return None
        part = microseconds_of(found.group(1), unit)
        if part is None:
            return None
        total, at = total + part, found.end()
    if not at or total > _LIMIT:
        return None
    return -total if negative else total
