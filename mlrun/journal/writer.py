"""The writer: what this process appends to the journal of a store."""

from __future__ import annotations

import errno
import operator
import os
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.contracts import Mark
from mlrun.ids import now_us
from mlrun.journal import segment as _segment
from mlrun.journal.channel import Channel
from mlrun.journal.files import LOG, SEGMENT, TEXT
from mlrun.journal.keeper import Keeper, sync_files
from mlrun.journal.reclog import pack
from mlrun.journal.slots import Slot, claim, seal_slot
from mlrun.journal.space import RESERVE_BYTES, Space
from mlrun.journal.streams import LogStream, PointStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.config import Settings
    from mlrun.contracts import Op

__all__ = ["Channel", "Writer", "written_to"]

_INT64 = 1 << 63
_RETRY = 1.0  # seconds between two tries to claim a slot


@dataclass
class Hold:
    """A slot while this process holds it, and its open files."""

    slot: Slot
    space: Space
    points: PointStream
    records: LogStream
    texts: LogStream
    keeper: Keeper | None = None

    def take_dirty(self) -> tuple[list[int], bool]:
        """Return copies of the descriptors that have something new, and whether a file is new. Under the lock."""
        fds, fresh = [], False
        seg = self.points.current
        if seg is not None and seg.rows != seg.synced:
            fresh |= not seg.synced
            seg.synced = seg.rows
            if sys.platform != "linux":
                seg.map.flush()  # elsewhere fsync does not see what was stored through a mapping
            fds += [os.dup(fd) for fd in (seg.fd, seg.log.fd) if fd >= 0]
        for stream in (self.records, self.texts):
            log = stream.log
            if log is not None and log.fd >= 0 and log.size != stream.synced:
                fresh |= not stream.synced
                stream.synced = log.size
                fds.append(os.dup(log.fd))
        return fds, fresh

    def forget(self) -> None:
        """In a forked child: close the copies; everything is the parent's."""
        self.points.forget()
        for stream in (self.records, self.texts):
            if stream.log is not None:
                stream.log.close()


class Writer:
    """This process's writer of one journal; `open` it, threads share it.

    It holds a slot from `open` to `close`. After `close`, and in a forked child, the next use takes a slot again: then
    `name` and `claim` are others.

    Attributes:
        folder: the journal.
        lock: guards everything that is written; signal handlers and finalizers never take it.
        dropped: points that were not written because there was no space, by run id.
        names: of the slots that this process has held.
    """

    def __init__(self, folder: Path, max_bytes: int, reserve: int) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.dropped: dict[str, int] = {}
        self.names: list[str] = []
        self._bounds = (max_bytes, reserve)
        self._channels: weakref.WeakSet[Channel] = weakref.WeakSet()
        self._hold: Hold | None = None
        self._retry_at = 0.0

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        settings: Settings | None = None,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Writer:
        """Return the process's writer for the journal in `folder`, holding a slot.

        Args:
            folder: the journal; made if absent.
            settings: `spool_max_bytes` is used; the settings that hold here and now if None.
            reserve_bytes: of the disk that stay free, but never more than a twentieth of it. Like the settings, the
                first call of the process decides.

        Raises:
            OSError: the folder cannot be written, or its file system has no locks.
        """
        key = os.path.realpath(folder)
        writer = _open.get(key)
        if writer is None:
            if settings is None:
                from mlrun.config import settings as read_settings

                settings = read_settings()
            fresh = cls(Path(key), settings.spool_max_bytes, reserve_bytes)
            with _open_lock:
                writer = _open.setdefault(key, fresh)
        with writer.lock:
            writer._held()
        return writer

    @property
    def name(self) -> str:
        """Name of the slot."""
        with self.lock:
            return self._held().slot.folder.name

    @property
    def claim(self) -> int:
        """How often the slot was claimed, this time included."""
        with self.lock:
            return self._held().slot.claim

    def channel(self, project: str, run_id: str, table: str = "metrics") -> Channel:
        """Return a new channel for the points of a run; nothing is written before its first point."""
        channel = Channel(self, project, run_id, table)
        with self.lock:
            self._channels.add(channel)
        return channel

    def record(self, ops: Sequence[Op]) -> None:
        """Append operations as one record; they are applied together. Returned means kept through a kill.

        Raises:
            OSError: nothing was recorded (a full disk); it may be tried again.
            TypeError: a value has no JSON form.
        """
        payload = pack([list(op) for op in ops])
        with self.lock:
            self._held().records.append(payload)

    def text(self, project: str, run_id: str, lines: Sequence[tuple[int, str, str]]) -> None:
        """Append lines of the console, `(time in µs, stream, line)`, as one record; errors as `record`."""
        payload = pack([project, run_id, [list(line) for line in lines]])
        with self.lock:
            self._held().texts.append(payload)

    def position(self) -> Mark:
        """Return where the next record and the next point go."""
        with self.lock:
            hold = self._held()
            log, offset = hold.records.position()
            seg = hold.points.current
            if seg is None:
                return Mark(log, offset, hold.slot.next_number(SEGMENT), 0)
            return Mark(log, offset, seg.number, seg.rows)

    def sync(self) -> None:
        """Bring everything to disk now, against power loss; a kill alone needs no sync.

        Raises:
            OSError: the disk did not take it.
        """
        with self.lock:
            hold = self._held()
        sync_files(self.lock, hold)

    def close(self) -> None:
        """Seal all files and let the slot go. Idempotent; channels and the writer may be used again."""
        with self.lock:
            self._turn()
            hold, self._hold = self._hold, None
        if hold is None:
            return
        if hold.keeper is not None:
            hold.keeper.stop()
        with suppress(OSError):  # a failing disk: the pages stay with the kernel
            sync_files(self.lock, hold)
        hold.points.close()
        for stream in (hold.records, hold.texts):
            if stream.log is not None:
                stream.log.close()
        try:
            for _ in seal_slot(hold.slot.folder):
                pass  # our own files: what is damaged is told to whoever reads them
        except OSError:
            pass  # what is not sealed now is sealed by who adopts the slot
        hold.slot.release()

    def store(self, channel: Channel, data: dict[str, float | int], step: int) -> bool:
        """Do what `Channel.log` promises, in every case; it calls this when the short way failed."""
        points = _plain(data)
        try:
            step = operator.index(step)
        except TypeError:
            return False
        if points is None or not -_INT64 <= step < _INT64:
            return False
        with self.lock:
            seg = self._segment_for(channel, points)
            if seg is None:
                self.dropped[channel.run_id] = self.dropped.get(channel.run_id, 0) + len(points)
                return True
            run = seg.runs[channel.table, channel.project, channel.run_id]
            n, now, ids = seg.rows, now_us(), seg.ids
            runs, keys, steps, times, values = seg.columns
            for key, value in points:
                runs[n], keys[n], steps[n], times[n], values[n] = run, ids[key], step, now, value
                n += 1
            if _segment.FENCE is not None:
                with _segment.FENCE:
                    pass
            seg.count[0] = n
            channel.bind((seg.count, *seg.columns, run, ids))
        return True

    def _segment_for(
        self, channel: Channel, points: list[tuple[str, float | int]]
    ) -> _segment.Segment | None:
        """Return a segment with room for the points, their names in its dictionary; None without space."""
        try:
            hold = self._held()
            if hold.space.closed:
                return None
            seg = hold.points.room(len(points))
            if hold.points.wants_spare or hold.points.retired:
                self._wake(hold)
            if seg is None:
                return None
            seg.define((channel.table, channel.project, channel.run_id), [k for k, _ in points])
        except OSError:
            return None  # no space for the slot or the dictionary: the points are dropped
        return seg

    def _held(self) -> Hold:
        """Return the slot that this process holds; takes one if it holds none. Under the lock."""
        if self._hold is None:
            if time.monotonic() < self._retry_at:
                raise OSError(
                    errno.EAGAIN, "no slot could be claimed a moment ago", str(self.folder)
                )
            self._retry_at = time.monotonic() + _RETRY
            slot = claim(self.folder)
            self._retry_at = 0.0
            if slot.folder.name not in self.names:
                self.names.append(slot.folder.name)
            space = Space(self.folder, *self._bounds)
            space.look(space.taken)
            hold = Hold(
                slot,
                space,
                PointStream(slot, space, self._turn),
                LogStream(slot, LOG, space.max_bytes),
                LogStream(slot, TEXT, space.max_bytes),
            )
            hold.keeper = Keeper(self.lock, hold, self._turn)
            self._hold = hold
        return self._hold

    def _wake(self, hold: Hold) -> None:
        if hold.keeper is not None:
            hold.keeper.wake()

    def _turn(self) -> None:
        for channel in self._channels:
            channel.turn()

    def _forget(self) -> None:
        """In a forked child: leave everything to the parent."""
        hold, self._hold = self._hold, None
        self.lock = threading.Lock()
        self.dropped = {}
        self.names = []
        self._retry_at = 0.0
        for channel in list(self._channels):
            channel.renew()
        if hold is not None:
            hold.forget()


def _plain(data: dict[str, float | int]) -> list[tuple[str, float | int]] | None:
    """Return the points if all are plain numbers under text keys."""
    try:
        points = list(data.items())
        for key, value in points:
            if not isinstance(key, str) or type(value) not in (float, int):
                return None
            float(value)
    except (AttributeError, OverflowError, RuntimeError):
        return None  # no dict, an int beyond float's range, or another thread is changing the dict
    return points


def written_to(journal: Path) -> list[Path]:
    """Return the slots of a journal that this process has held."""
    writer = _open.get(os.path.realpath(journal))
    return [] if writer is None else [writer.folder / name for name in writer.names]


_open: dict[str, Writer] = {}
_open_lock = threading.Lock()


def _renew_after_fork() -> None:
    global _open_lock  # the parent's lock may have been held at the fork
    _open_lock = threading.Lock()
    for writer in list(_open.values()):
        writer._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
