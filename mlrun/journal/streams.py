"""Numbered files as one stream: points over segments, records over logs. The writer's lock guards both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlrun.journal.files import SEGMENT, numbered
from mlrun.journal.reclog import RecordLog
from mlrun.journal.segment import MAX_BYTES, MIN_BYTES, Segment, bytes_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.journal.slots import Slot
    from mlrun.journal.space import Space

__all__ = ["ROTATE_BYTES", "LogStream", "PointStream"]

ROTATE_BYTES = 4 << 20
_RETIRED = 1  # segments that may wait for the keeper to unmap them
_RETRY = 1.0  # seconds between two tries to find space


class LogStream:
    """Records over numbered logs; one that has grown to ROTATE_BYTES (an eighth of a bound) is sealed."""

    def __init__(self, slot: Slot, kind: str, max_bytes: int = 0) -> None:
        # An open log cannot be unlinked: it must not fill a small bound for ever.
        self._rotate = min(ROTATE_BYTES, max_bytes // 8) if max_bytes else ROTATE_BYTES
        self._slot = slot
        self._kind = kind
        self.log: RecordLog | None = None
        self.number = 0
        self.synced = 0

    def append(self, payload: bytes) -> None:
        """Write one record.

        Raises:
            OSError: it was not recorded.
        """
        log = self.log
        if log is not None and log.size >= self._rotate:
            self.log = None  # first: what is sealed must not be appended to, whatever interrupts us
            log.seal()
            log = None
        if log is None:
            self.number = self._slot.take_number(self._kind)
            log = self.log = RecordLog(numbered(self._slot.folder, self.number, self._kind))
            self.synced = 0
        log.append(payload)

    def position(self) -> tuple[int, int]:
        """Number of the log that takes the next record, and its size."""
        if self.log is None or self.log.size >= self._rotate:
            return self._slot.next_number(self._kind), 0
        return self.number, self.log.size

    def close(self) -> None:
        """Seal the open log."""
        log, self.log = self.log, None
        if log is not None:
            log.seal()


class PointStream:
    """Points over numbered segments: small first, then doubling.

    Attributes:
        current: the segment that takes the next points, or None.
        retired: full segments whose memory the keeper lets go of.
    """

    def __init__(self, slot: Slot, space: Space, turn: Callable[[], None]) -> None:
        self._slot = slot
        self._space = space
        self._turn = turn  # makes every channel ask for its columns again
        self._next_size = MIN_BYTES
        self._retry_at = 0.0
        self._spare: Segment | None = None
        self.wants_spare = False
        self.current: Segment | None = None
        self.retired: list[Segment] = []

    def room(self, rows: int) -> Segment | None:
        """Return a segment with room for `rows` more; None when there is no space on the disk."""
        seg = self.current
        if seg is not None:
            need = seg.rows + rows
            if need <= seg.limit:
                return seg
            if need <= seg.capacity:
                self._turn()
                seg.widen()
                self.wants_spare = True
                return seg
        if time.monotonic() < self._retry_at:
            return None
        fresh = self._take_spare(rows) or self._create(rows)
        self.retire()  # also when there is no space: what is sealed can be absorbed, which makes some
        if fresh is None:
            self._retry_at = time.monotonic() + _RETRY
        else:
            self.current = fresh
            self._next_size = min(MAX_BYTES, 2 * max(self._next_size, bytes_for(fresh.capacity)))
        return fresh

    def retire(self) -> None:
        """Put the current segment aside; nothing is written to it any more."""
        self._turn()  # first: whatever interrupts us, no channel may write to what will be sealed
        seg, self.current = self.current, None
        if seg is not None:
            self.retired.append(seg)
        while (
            len(self.retired) > _RETIRED
        ):  # the keeper waits for a slow disk: memory stays bounded
            self.retired.pop(0).close()

    def _take_spare(self, rows: int) -> Segment | None:
        spare, self._spare = self._spare, None
        if spare is None:
            return None
        if spare.capacity // 2 >= rows and (not self.current or spare.number > self.current.number):
            return spare
        spare.discard()
        return None

    def _create(self, rows: int) -> Segment | None:
        least = max(MIN_BYTES, bytes_for(2 * rows))
        size = max(self._next_size, least)
        while True:
            try:
                if self._space.take(size):
                    number = self._slot.take_number(SEGMENT)
                    return Segment(self._slot.folder, number, size, touch=size <= MIN_BYTES)
            except OSError:
                self._space.give_back(size)  # a full disk, a quota, a limit: a smaller one may fit
            if size <= least:
                return None
            size = max(least, size // 2)

    def spare_order(self) -> tuple[int, int] | None:
        """Number and size of a segment to make ahead of need; None when none is wanted."""
        if not self.wants_spare or self._spare is not None or not self._space.take(self._next_size):
            return None
        self.wants_spare = False
        return self._slot.take_number(SEGMENT), self._next_size

    def offer_spare(self, spare: Segment) -> None:
        """Keep a segment that was made ahead, unless the writer went past it meanwhile."""
        seg = self.current
        if self._spare is None and seg is not None and spare.number > seg.number:
            self._spare = spare
        else:
            spare.discard()

    def sealable_below(self) -> int:
        """Segments with lower numbers get no more points."""
        open_ = [s.number for s in (self.current, self._spare) if s is not None]
        return min(open_, default=self._slot.next_number(SEGMENT))

    def forget(self) -> None:
        """In a forked child: close the copies; the files are the parent's."""
        for seg in (self.current, self._spare, *self.retired):
            if seg is not None:
                seg.close()

    def close(self) -> None:
        """Let go of everything; the files are sealed by who called."""
        self.retire()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.discard()
        while self.retired:
            self.retired.pop().close()
