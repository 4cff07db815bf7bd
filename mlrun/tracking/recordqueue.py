"""Records of a run on their way into the journal: written at once, kept and tried again while the disk is full."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mlrun.tracking.background import later

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.contracts import Op

__all__ = ["RecordQueue"]

_RETRY = 2.0  # seconds


class RecordQueue:
    """Writes batches of ops in order; a batch that the disk refused stays at the head of the queue.

    Args:
        write: stores one batch so that it survives a killed process; OSError when it cannot.
        warn: issues a warning once per code.
    """

    __slots__ = ("_lock", "_scheduled", "_waiting", "_warn", "_write", "written")

    def __init__(self, write: Callable[[list[Op]], None], warn: Callable[[str, str], None]) -> None:
        self._write = write
        self._warn = warn
        self._waiting: list[list[Op]] = []
        self._lock = threading.Lock()
        self._scheduled = False
        self.written = 0  # batches, also those that wait

    def put(self, ops: list[Op]) -> bool:
        """Write a batch behind those that wait; False if it has to wait too."""
        with self._lock:
            self.written += 1
            self._waiting.append(ops)
            return self._flush()

    def flush(self) -> bool:
        """Try again what waits; False if something still does."""
        with self._lock:
            return self._flush()

    def renew(self) -> None:
        """Start empty with a new lock: this is a forked child, and what waits is the parent's to write."""
        self._lock = threading.Lock()
        self._waiting = []
        self._scheduled = False

    def _flush(self) -> bool:
        while self._waiting:
            try:
                self._write(self._waiting[0])
            except OSError as error:
                reason = error.strerror or str(error)
                self._warn(
                    "records", f"the journal cannot be written ({reason}); it is tried again"
                )
                self._try_later()
                return False
            except Exception:
                del self._waiting[0]  # it will never go through; what comes behind it may
                raise
            del self._waiting[0]
        return True

    def _try_later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            later(_RETRY, self._again)

    def _again(self) -> None:
        with self._lock:
            self._scheduled = False
            self._flush()
