"""How much of the disk the journal may take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlrun.journal.files import list_slots

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RESERVE_BYTES", "Space", "folder_bytes"]

RESERVE_BYTES = 1 << 30  # of the disk that stay free
_RESERVE_SHARE = 0.05  # of a small disk


class Space:
    """The bound on what waits in a journal, over all its writers.

    Attributes:
        closed: the bound is reached; new points are dropped.
        taken: bytes of all files that this process made or is about to make; changed under the writer's lock.
    """

    def __init__(self, journal: Path, max_bytes: int, reserve: int) -> None:
        self._journal = journal
        self.max_bytes = max_bytes
        self.reserve = reserve
        self.closed = False
        self.taken = 0
        self._measured = (
            0,
            0,
        )  # bytes on disk, and `taken` when they were counted: replaced as one

    def take(self, size: int) -> bool:
        """Count a new file of `size` bytes; False when the bound forbids it."""
        on_disk, since = self._measured
        if self.max_bytes and on_disk + self.taken - since + size > self.max_bytes:
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        """Uncount a file that was not made."""
        self.taken -= size

    def look(self, since: int) -> bool:
        """Look at the disk and decide anew; True when that changed `closed`. Asks the file system: never in `log()`.

        Args:
            since: `taken`, read under the writer's lock: so that no file is counted as taken and not yet on disk.
        """
        before, on_disk = self.closed, 0
        if self.max_bytes:
            on_disk = sum(folder_bytes(slot) for slot in list_slots(self._journal))
            self._measured = (on_disk, since)
        self.closed = self._free() < 0 or bool(self.max_bytes and on_disk > self.max_bytes)
        return self.closed != before

    def _free(self) -> int:
        if not self.reserve or not hasattr(os, "statvfs"):
            return 0
        try:
            disk = os.statvfs(self._journal)
        except OSError:
            return 0  # not known; an allocation will say it
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        return free - min(self.reserve, int(total * _RESERVE_SHARE))


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # absorbed while we looked
    except FileNotFoundError:
        return 0
    return total
