"""An advisory lock on a file, released by the kernel when its holder dies."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mlrun.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["FileLock"]


class FileLock:
    """`flock` (on Windows, a byte-range lock) on a file that is made if absent.

    Each instance opens the file anew, so two instances exclude each other within a process too. A forked child that
    keeps running shares the lock: hold it only around work that does not fork, or exec at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; False if `wait` is off and somebody else holds it.

        Raises:
            StoreError: the file cannot be opened for writing.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise StoreError(f"cannot write in {self._path.parent}: {error.strerror}") from error
        try:
            held = _lock(fd, wait=wait)
        except BaseException:
            os.close(fd)
            raise
        if held:
            self._fd = fd
        else:
            os.close(fd)
        return held

    def release(self) -> None:
        """Let it go; nothing happens when it is not held."""
        if self._fd >= 0:
            os.close(self._fd)  # closing the descriptor releases the lock
            self._fd = -1

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(fd: int, *, wait: bool) -> bool:
        while True:
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(0.01)
            else:
                return True
else:
    import fcntl

    def _lock(fd: int, *, wait: bool) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
