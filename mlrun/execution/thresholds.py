"""How long a run may stay in a phase before it is aborted: `state_thresholds` and `time_limit`.

| phase | what it means |
|---|---|
| `pending_scheduled` | a place was found, and the work has not begun (images, environments) |
| `pending_not_scheduled` | no place was found yet |
| `image_pull_backoff` | the image cannot be had |
| `executing` | the handler runs; `time_limit` is another word for it |

A time is a number of seconds or text such as `90s`, `5m`, `1h30m`, `1d`; -1 means for ever. Executors that cannot tell
the first three apart count all of them as `pending_scheduled`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PHASES", "limits_of", "seconds"]

PHASES = ("pending_scheduled", "pending_not_scheduled", "image_pull_backoff", "executing")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])\s*")


def seconds(given: Any) -> float | None:
    """Return a length of time in seconds; None for ever.

    Example:
        >>> seconds("1h30m"), seconds(5), seconds("-1")
        (5400.0, 5.0, None)

    Raises:
        ConfigError: it is no length of time.
    """
    if given is None:
        return None
    if hasattr(given, "total_seconds"):
        given = given.total_seconds()
    try:
        found = float(given)
    except (TypeError, ValueError):
        found = _parsed(given)
    if found != found:
        raise ConfigError(f"{given!r} is no length of time")
    return None if found < 0 else found


def _parsed(given: Any) -> float:
    text = str(given).strip().lower()
    parts = _PART.findall(text)
    if not parts or "".join(_PART.sub("", text).split()):
        raise ConfigError(f"{given!r} is no length of time: say '90s', '5m', '1h30m' or a number")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def limits_of(given: Mapping[str, Any] | None, time_limit: Any = None) -> dict[str, float]:
    """Return the limits of the phases that have one, in seconds.

    Raises:
        ConfigError: an unknown phase, or no length of time.
    """
    limits: dict[str, float] = {}
    for phase, value in (given or {}).items():
        if phase not in PHASES:
            raise ConfigError(
                f"no phase {phase!r}{did_you_mean(phase, PHASES)}; known: {', '.join(PHASES)}"
            )
        if (limit := seconds(value)) is not None:
            limits[phase] = limit
    if (limit := seconds(time_limit)) is not None:
        limits["executing"] = min(limit, limits.get("executing", limit))
    return limits
