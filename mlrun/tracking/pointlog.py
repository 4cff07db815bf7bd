"""From `run.log()` to the journal: the fast way for plain numbers under known keys, and the slow way for all the rest.

The fast way is two questions: are all keys known (so they are clean text, and counted), and did the channel take the
values (so they are plain numbers)? Everything else happens once per key, or for unusual values.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from mlrun.names import as_text, clean
from mlrun.tracking.scalars import NOTHING, UNTAKEN, as_float, as_step, flatten
from mlrun.tracking.values import as_tree, pretty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlrun.journal.writer import Channel

__all__ = ["MAX_STEP", "PointLog"]

MAX_STEP = 2**63 - 1
_NO_KEYS: frozenset[str] = frozenset()


def _closed(data: dict[str, float], step: int) -> bool:
    return False


class PointLog:
    """Points of one run on their way into the journal.

    Args:
        open_channel: gives the channel; called at the first point.
        other: takes (key, value, step) of a value that is no number; False if it cannot either, and said so.
        warn: issues a warning once per code.
        limit: how many keys a run may have.
        step: the first automatic step.
        keys: keys that the run has already.

    Attributes:
        step: the next automatic step.
        refused: values not stored, because of the key limit, after the end, or in error.
        unloggable: values not stored because nothing is known to do with them.
    """

    __slots__ = (
        "_known", "_limit", "_lock", "_log", "_open_channel", "_other", "_warn",
        "refused", "step", "unloggable",
    )  # fmt: skip

    def __init__(
        self,
        open_channel: Callable[[], Channel],
        other: Callable[[str, Any, int], bool],
        warn: Callable[[str, str], None],
        *,
        limit: int,
        step: int = 0,
        keys: Iterable[str] = (),
    ) -> None:
        self._open_channel = open_channel
        self._other = other
        self._warn = warn
        self._limit = limit
        self._known: set[str] | frozenset[str] = set(keys)
        self._log: Callable[[dict[str, Any], int], bool] | None = None
        self._lock = threading.RLock()
        self.step = step
        self.refused = 0
        self.unloggable = 0

    def log(self, data: Any, step: Any = None) -> None:
        """Publish one call's values at one step; never raises."""
        at = step
        if at is None:
            # no call stands between the two: another thread cannot take the same step
            at = self.step
            self.step = at + 1
        elif at.__class__ is int:
            self.step = at + 1
        else:
            at = self._integral(at)
        try:
            if data.keys() <= self._known and self._log(data, at):  # type: ignore[misc]  # None only while no key is known
                return
        except Exception:  # noqa: BLE001  the slow way finds out what it was, and says so
            pass
        self._log_slowly(data, self._last_step() if step is None and at > MAX_STEP else at)

    def close(self) -> None:
        """Refuse what comes from here on, with one warning."""
        self._known = _NO_KEYS
        self._log = _closed

    def renew(self) -> None:
        """Renew the lock, which another thread of the parent may have held: this is a forked child."""
        self._lock = threading.RLock()

    def _integral(self, step: Any) -> int:
        number = as_step(step)
        if number is None:
            self._warn(
                "step",
                f"step must be a whole number, not {pretty(step):.80}: the automatic step is used",
            )
            number = self.step if self.step <= MAX_STEP else self._last_step()
        self.step = number + 1
        return number

    def _last_step(self) -> int:
        """Stay at the last step there is: the points are worth more than their order."""
        self.step = MAX_STEP + 1
        self._warn(
            "last step",
            f"there is no step after {MAX_STEP}: further values without a step are stored there",
        )
        return MAX_STEP

    def _log_slowly(self, data: Any, step: int) -> None:
        try:
            self._take(data, step)
        except Exception as error:  # noqa: BLE001  logging a point never ends a training run
            self.refused += 1
            self._warn(
                f"log:{type(error).__name__}",
                f"log() could not store its values ({type(error).__name__}: {as_text(error)}); counted in `dropped`",
            )

    def _take(self, data: Any, step: int) -> None:
        tree = as_tree(data)
        if tree is None:
            self.unloggable += 1
            kind = type(data).__name__
            self._warn(
                f"data:{kind}",
                f"log() takes a dict of names and values, not {kind}: nothing is stored",
            )
            return
        if self._log is _closed:
            self.refused += len(tree)
            self._warn("closed", "log() after the run was finished: nothing is stored")
            return
        if not -MAX_STEP - 1 <= step <= MAX_STEP:
            self.step = 0
            self.refused += len(tree)
            self._warn("range", f"step {step:.3e} is beyond 64 bits: nothing is stored")
            return
        points, others = self._sort(tree)
        if points and not self._channel()(points, step):
            self.refused += len(points)
            self._warn(
                "journal", "the journal refused values of log(); they are counted in `dropped`"
            )
        for key, value in others:
            self._take_other(key, value, step)

    def _sort(self, tree: Mapping[Any, Any]) -> tuple[dict[str, float], list[tuple[str, Any]]]:
        """Part the values into points, under admitted keys, and others."""
        points: dict[str, float] = {}
        others: list[tuple[str, Any]] = []
        for given, value in flatten(tree):
            number = as_float(value)
            if number is NOTHING:
                continue
            known = given.__class__ is str and given in self._known
            key = given if known else clean(given, "key", self._warn)
            if number is UNTAKEN:
                others.append((key, value))
            elif known or self._admit(key):
                points[key] = number
                if isinstance(value, int) and number in (float("inf"), float("-inf")):
                    self._warn(
                        f"huge:{key}",
                        f"{key!r}: an int beyond the range of a float is stored as infinity",
                    )
            else:
                self.refused += 1
        return points, others

    def _take_other(self, key: str, value: Any, step: int) -> None:
        try:
            self.unloggable += not self._other(key, value, step)
        except Exception as error:  # noqa: BLE001  an encoder or the object store failed; training goes on
            self.unloggable += 1
            self._warn(
                f"value:{key}:{type(value).__name__}",
                f"log() could not store {key!r:.80}, a {type(value).__name__}: {as_text(error)}",
            )

    def _admit(self, key: str) -> bool:
        with self._lock:
            known = self._known
            if key in known:
                return True
            if len(known) >= self._limit:
                self._warn(
                    "keys",
                    f"the run has {self._limit:,} metric keys, the most it may have: {key!r:.80} and further new"
                    " ones are not stored (MLRUN_MAX_METRIC_KEYS; are steps or ids part of the names?)",
                )
                return False
            if isinstance(known, set):
                known.add(key)
            if len(known) == -(-self._limit * 4 // 5):
                self._warn(
                    "many keys",
                    f"the run has {len(known):,} metric keys; beyond {self._limit:,} new ones are refused",
                )
            return True

    def _channel(self) -> Callable[[dict[str, Any], int], bool]:
        with self._lock:
            if self._log is None:
                self._log = self._open_channel().log
            return self._log
