"""Names of files in a writer slot."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "DICT",
    "KINDS",
    "LOG",
    "SEGMENT",
    "TEXT",
    "list_numbers",
    "list_slots",
    "numbered",
    "pread",
    "pwrite",
    "sync_folder",
]

SEGMENT = ".seg"
DICT = ".dict"
LOG = ".rec"
TEXT = ".txt"
KINDS = (SEGMENT, DICT, LOG, TEXT)

if sys.platform == "win32":

    def pread(fd: int, size: int, offset: int) -> bytes:
        """`os.pread`, where the system has none; the descriptor must not be shared between threads."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        """`os.pwrite`, where the system has none; the descriptor must not be shared between threads."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)
else:
    pread, pwrite = os.pread, os.pwrite

_SLOT = re.compile(r"w-[0-9a-f]{12}")
_FILE = re.compile(r"([0-9]{10})(\.seg|\.dict|\.rec|\.txt)")


def numbered(folder: Path, number: int, kind: str) -> Path:
    """Path of the file with this number; `kind` is one of the suffixes above."""
    return folder / f"{number:010d}{kind}"


def list_numbers(folder: Path) -> dict[str, list[int]]:
    """Return the numbers of the files of every kind, ascending; empty where there is no such folder."""
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return found
    for name in names:
        if match := _FILE.fullmatch(name):
            found[match[2]].append(int(match[1]))
    for numbers in found.values():
        numbers.sort()
    return found


def list_slots(journal: Path) -> list[Path]:
    """Return the folders of all writer slots, by name; empty where there is no journal."""
    try:
        names = os.listdir(journal)
    except FileNotFoundError:
        return []
    return [journal / name for name in sorted(names) if _SLOT.fullmatch(name)]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive power loss, where the system can."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows opens no folders; its metadata is journaled by the file system
    try:
        os.fsync(fd)
    except OSError:
        pass  # some file systems refuse to sync a folder; there is nothing else to ask for
    finally:
        os.close(fd)
