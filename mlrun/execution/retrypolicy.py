"""How often a run is tried again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlrun.errors import ConfigError
from mlrun.execution.thresholds import seconds

__all__ = ["RetryPolicy"]

_LONGEST = 3600.0  # seconds


@dataclass(frozen=True)
class RetryPolicy:
    """Retries of a failed attempt.

    Attributes:
        count: attempts after the first; 0 for none.
        backoff: seconds before the first retry; each later one waits twice as long, up to an hour.
    """

    count: int = 0
    backoff: float = 1.0

    @classmethod
    def of(cls, given: Any) -> RetryPolicy:
        """Read `3`, `{"count": 3, "backoff": "30s"}`, `{"count": 3, "backoff": {"base_delay": "30s"}}` or the like.

        Example:
            >>> RetryPolicy.of({"count": 2, "backoff": {"base_delay": "1m"}})
            RetryPolicy(count=2, backoff=60.0)

        Raises:
            ConfigError: it has no meaning.
        """
        if given is None or isinstance(given, RetryPolicy):
            return given or cls()
        if isinstance(given, (int, float)):
            return cls._checked(given, None)
        if isinstance(given, str) or not (hasattr(given, "get") or hasattr(given, "count")):
            raise ConfigError(f"retry is a number, or count and backoff, not {given!r:.60}")
        delay = _part(given, "backoff")
        if hasattr(delay, "get") or hasattr(delay, "base_delay"):
            delay = _part(delay, "base_delay")
        return cls._checked(_part(given, "count") or 0, delay)

    @classmethod
    def _checked(cls, count: Any, delay: Any) -> RetryPolicy:
        try:
            tries = int(count)
        except (TypeError, ValueError):
            tries = -1
        if tries < 0:
            raise ConfigError(f"retry: count is a number of further attempts, not {count!r}")
        wait = cls.backoff if delay is None else seconds(delay)
        return cls(tries, wait or 0.0)

    def delay(self, attempt: int) -> float:
        """Seconds to wait before attempt number `attempt` (1 is the first retry)."""
        return float(min(self.backoff * 2 ** (attempt - 1), _LONGEST))


def _part(given: Any, name: str) -> Any:
    return given.get(name) if hasattr(given, "get") else getattr(given, name, None)
