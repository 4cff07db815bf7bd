"""Selectors: which iteration of a hyperparameter job is the best."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Selector", "found_value"]


@dataclass(frozen=True)
class Selector:
    """`[min.|max.]key`.

    Example:
        >>> Selector.parse("min.loss")
        Selector(key='loss', goal='min')
        >>> Selector.parse("accuracy").goal
        'max'
    """

    key: str
    goal: str = "max"

    @classmethod
    def parse(cls, text: str | None) -> Selector | None:
        """Read a selector; None or empty text for none.

        Raises:
            ConfigError: a prefix other than min and max, or no key.
        """
        if not text:
            return None
        head, dot, rest = text.partition(".")
        if not dot:
            return cls(text)
        if head not in ("min", "max") or not rest:
            raise ConfigError(
                f"illegal iteration selector {text!r}: say max.<key>, min.<key> or <key>"
            )
        return cls(rest, head)

    def number(self, outcome: Mapping[str, Any]) -> float | None:
        """Return the number that decides, or None if this iteration cannot be chosen: it failed, or has none."""
        if outcome.get("state") != "completed":
            return None
        try:
            value = float(found_value(outcome, self.key))
        except (TypeError, ValueError):
            return None
        return None if math.isnan(value) else value

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` beats what was the best before (None: nothing was); equal does not."""
        worst = sys.float_info.max
        if self.goal == "max":
            return value > (-worst if than is None else than)
        return value < (worst if than is None else than)

    def best(self, outcomes: Iterable[Mapping[str, Any]]) -> int | None:
        """Return the `iteration` of the best outcome, the first of equal ones; None if none can be chosen."""
        best: float | None = None
        chosen: int | None = None
        for outcome in sorted(outcomes, key=lambda o: o["iteration"]):
            value = self.number(outcome)
            if value is not None and self.better(value, best):
                best, chosen = value, outcome["iteration"]
        return chosen


def found_value(outcome: Mapping[str, Any], key: str) -> Any:
    """Return a child's result of that name, else the last value of the metric, else None."""
    results, metrics = outcome.get("results") or {}, outcome.get("metrics") or {}
    return results[key] if key in results else metrics.get(key)
