"""The hot path: from a dict of numbers to published rows in about a microsecond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun import ids as _ids
from mlrun.journal import segment as _segment

if TYPE_CHECKING:
    from mlrun.journal.writer import Writer

__all__ = ["Channel"]

_clock, _CLOCK = _ids._clock_ns, _ids._CLOCK  # `now_us()`, without the call

# A key that has no id yet, a full (half of a) segment, columns that were turned away, a number out of range, a
# dict that another thread changes, something that is no dict: all seldom, all settled by `Writer.store`.
_SELDOM = (
    AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class Channel:
    """The points of one run in one series table. Threads may share it.

    It outlives forks and `Writer.close()`: the next call goes to the slot that the process holds then.
    """

    __slots__ = ("__weakref__", "_hot", "_lock", "_writer", "project", "run_id", "table")

    def __init__(self, writer: Writer, project: str, run_id: str, table: str) -> None:
        self.project = project
        self.run_id = run_id
        self.table = table
        self._writer = writer
        self._lock = writer.lock
        self._hot: Any = None  # None: ask the writer for columns

    def log(self, data: dict[str, float | int], step: int) -> bool:
        """Publish all points of `data` at once, at one time.

        Returns:
            False if a value is no plain float or int (a bool is none), an int is beyond float's range, a key is no
            str, or the step is no 64-bit int; then nothing is written. True also when the disk is full: the points
            are then counted in `Writer.dropped`.
        """
        try:
            with self._lock:
                count, runs, keys, steps, times, values, run, ids = self._hot
                n = count[0]  # the only truth: an interrupted call leaves no other trace
                now = (_clock(_CLOCK) + _ids._offset_ns) // 1000
                for key, value in data.items():
                    if type(value) is not float and type(value) is not int:
                        return False
                    runs[n] = run
                    keys[n] = ids[key]
                    steps[n] = step
                    times[n] = now
                    values[n] = value
                    n += 1
                if _segment.FENCE is not None:
                    _segment.FENCE.acquire()
                    _segment.FENCE.release()
                count[0] = n
            return True
        except _SELDOM:
            return self._writer.store(self, data, step)

    def bind(self, hot: tuple[Any, ...]) -> None:
        """Take the columns to write to. The writer calls this under its lock."""
        self._hot = hot

    def turn(self) -> None:
        """Ask the writer again before the next point. The writer calls this under its lock."""
        self._hot = None

    def renew(self) -> None:
        """In a forked child: use the writer's new lock, and columns of the child's own."""
        self._lock = self._writer.lock
        self._hot = None
