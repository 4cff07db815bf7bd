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
    """

    def __init__(self, journal: Path, max_bytes: int, reserve: int) -> None:
        self._journal = journal
        self.max_bytes = max_bytes
        self.reserve = reserve
        self._used = 0
        self.closed = False

    def take(self, size: int) -> bool:
        """Count a new file of `size` bytes; False when the bound forbids it."""
        if self.max_bytes and self._used + size > self.max_bytes:
            return False
        self._used += size
        return True

    def give_back(self, size: int) -> None:
        """Uncount a file that was not made."""
        self._used -= size

    def look(self) -> bool:
        """Look at the disk and decide anew; True when that changed `closed`. Asks the file system: never in `log()`."""
        before = self.closed
        if self.max_bytes:
            self._used = sum(folder_bytes(slot) for slot in list_slots(self._journal))
        self.closed = self._free() < 0 or bool(self.max_bytes and self._used > self.max_bytes)
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
