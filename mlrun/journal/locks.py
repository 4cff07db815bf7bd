"""One exclusive lock per file, held by a process and let go by the kernel when it dies.

POSIX: `flock`, which belongs to the open file: opening and closing the same path elsewhere in the process does not lose
it (as `lockf` would). A forked child inherits the open file, so it closes its copy, without LOCK_UN, which would unlock
the parent's. Windows: a byte range through `msvcrt`, best effort: it is let go when the process dies, but a probe
cannot tell a probe from a holder, so that a slot may be left aside for a moment.
"""

from __future__ import annotations

import errno
import os
import sys
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["SlotLock", "is_locked", "try_lock"]

_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


class SlotLock:
    """A lock that this process holds."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _held.add(self)

    def release(self) -> None:
        """Unlock, for the copies of forked children too; idempotent."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if sys.platform != "win32":
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)

    def forget(self) -> None:
        """In a forked child: close the copy; the parent's lock stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


_held: weakref.WeakSet[SlotLock] = weakref.WeakSet()


def try_lock(path: Path, *, create: bool = False) -> SlotLock | None:
    """Lock the file exclusively; None when somebody holds it, or when there is no such file.

    Raises:
        OSError: the file system has no locks, or the file cannot be opened.
    """
    flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        if _lock(fd, exclusive=True):
            return SlotLock(fd)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def is_locked(path: Path) -> bool:
    """Tell whether somebody holds the file exclusively; a file that is not there is held by nobody."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return False
    try:
        return not _lock(fd, exclusive=False)
    finally:
        os.close(fd)


def _lock(fd: int, *, exclusive: bool) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            if not exclusive:
                os.lseek(fd, 0, os.SEEK_SET)
                msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
