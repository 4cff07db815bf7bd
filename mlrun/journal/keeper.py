"""The background thread of a writer: all that `log()` must not wait for.

Every second, while there is something new: sync to disk, look at free space, and on a network file system a heartbeat.
At once when a segment is half full: make the next one, its pages present. After a roll: let go of the old memory and
seal the file. File system calls are made without the writer's lock.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from mlrun.journal.files import SEGMENT, list_numbers, numbered, sync_folder
from mlrun.journal.netfs import is_network
from mlrun.journal.segment import Segment
from mlrun.journal.slots import HEARTBEAT_EVERY, seal_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.journal.writer import Hold

__all__ = ["Keeper", "sync_files"]

_EVERY = 1.0  # seconds
_JOIN = 5.0

_sync_fd = os.fdatasync if hasattr(os, "fdatasync") else os.fsync


class Keeper:
    """Looks after one hold of a slot until `stop()`."""

    def __init__(self, lock: threading.Lock, hold: Hold, turn: Callable[[], None]) -> None:
        self._lock = lock
        self._hold = hold
        self._turn = turn
        # A bare lock as a bell, not an Event: a KeyboardInterrupt inside Event.set() may leave its lock held for ever.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._stopping = False
        self._sealed_below = 0
        self._next_beat = 0.0
        self._since = 0  # rows that came between the last two syncs
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, name="mlrun-journal", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None  # the interpreter is going down: close() does what is left

    def wake(self) -> None:
        """Look at once."""
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    def stop(self) -> None:
        """End the thread; waits for the step that it is in."""
        self._stopping = True
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN)

    def _run(self) -> None:
        remote = is_network(self._hold.slot.folder)
        next_look = 0.0
        while not self._stopping:
            try:
                self._prepare()
                self._settle()
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + _EVERY
                    self._look()
                    self._sync()
                    if remote:
                        self._beat()
            except OSError:
                pass  # a full or failing disk: log() and record() meet it themselves; we try again in a second
            self._bell.acquire(timeout=max(0.0, min(_EVERY, next_look - time.monotonic())))

    def _prepare(self) -> None:
        points = self._hold.points
        if not points.wants_spare:
            return
        with self._lock:
            order = points.spare_order()
        if order is None:
            return
        try:
            spare = Segment(self._hold.slot.folder, *order, touch=True)
        except OSError:
            with self._lock:
                self._hold.space.give_back(order[1])
            raise
        with self._lock:
            points.offer_spare(spare)

    def _settle(self) -> None:
        points, folder = self._hold.points, self._hold.slot.folder
        with self._lock:
            retired, points.retired = points.retired, []
            below = points.sealable_below()
        for seg in retired:
            seg.close()
        if below == self._sealed_below:
            return
        for number in list_numbers(folder)[SEGMENT]:
            if number >= below or self._stopping:
                break
            if number >= self._sealed_below:
                for _ in seal_points(folder, number):
                    pass  # damage of our own fresh files is for whoever reads them: doctor says it again
                _sync_path(numbered(folder, number, SEGMENT))
        self._sealed_below = below

    def _look(self) -> None:
        space = self._hold.space
        with self._lock:
            since = space.taken
        if space.look(since):
            with self._lock:
                self._turn()
                if space.closed:
                    self._hold.points.retire()  # what is sealed can be absorbed

    def _sync(self) -> None:
        """Sync, and give the pages back to the writer that a sync takes from it, as many as it needs till the next."""
        with self._lock:
            seg = self._hold.points.current
            since = seg.rows - seg.synced if seg is not None else 0
        sync_files(self._lock, self._hold)
        if seg is not None and since:
            seg.make_ready(2 * max(since, self._since))
        self._since = since

    def _beat(self) -> None:
        if time.monotonic() >= self._next_beat:
            self._hold.slot.beat()
            self._next_beat = time.monotonic() + HEARTBEAT_EVERY


def _sync_path(path: os.PathLike[str]) -> None:
    try:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return  # absorbed already
    try:
        _sync_fd(fd)
    finally:
        os.close(fd)


def sync_files(lock: threading.Lock, hold: Hold) -> None:
    """Bring to disk what was written since the last time."""
    with lock:
        fds, fresh = hold.take_dirty()
    try:
        for fd in fds:
            _sync_fd(fd)
    finally:
        for fd in fds:
            os.close(fd)
    if fresh:
        sync_folder(hold.slot.folder)
