"""How much a caller may ask and send: token buckets, one a caller or project. What is too much comes again later.

A bucket holds what may come in two seconds. Uploads are taken whole as long as it is not empty, and may leave a debt:
one that is larger than the bucket comes through, and the next waits.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from mlrun.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

    from .figures import Figures

__all__ = ["Limits"]

_SECONDS = 2.0  # that a full bucket lasts
_MOST = 10_000  # buckets; those that are full again are forgotten first


class Limits:
    """The buckets of a gateway; safe for many threads.

    Args:
        figures: count what was refused.
        clock: seconds, monotonic.
    """

    def __init__(self, figures: Figures, clock: Callable[[], float] = time.monotonic) -> None:
        self._figures = figures
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: dict[tuple[str, str], tuple[float, float]] = {}
        figures.describe("mlrun_rate_limited_total", "Requests that were told to come again later.")

    def take(self, what: str, who: str, amount: float, rate: float) -> None:
        """Take so much of what somebody may use.

        Args:
            what: `requests` or `points`.
            who: whose bucket.
            amount: how much.
            rate: how much a second; 0 for no bound.

        Raises:
            RateLimited: the bucket is empty; nothing was taken.
        """
        if rate <= 0 or not amount:
            return
        now = self._clock()
        with self._lock:
            level, since = self._levels.get((what, who), (rate * _SECONDS, now))
            level = min(rate * _SECONDS, level + (now - since) * rate)
            if level >= min(amount, 1.0):
                self._levels[what, who] = (level - amount, now)
                self._tidy(now)
                return
        self._figures.add("mlrun_rate_limited_total", what=what)
        raise RateLimited(
            f"{who} sends more than {rate:,.0f} {what} a second: come again a moment later",
            (1.0 - level) / rate,
        )

    def _tidy(self, now: float) -> None:
        if len(self._levels) > _MOST:
            old = sorted(self._levels, key=lambda key: self._levels[key][1])[: _MOST // 2]
            for key in old:
                if now - self._levels[key][1] > _SECONDS and self._levels[key][0] >= 0:
                    del self._levels[key]
