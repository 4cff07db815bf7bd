"""Capture what a process prints, line by line, without slowing or changing it.

The `write` of the stream objects themselves is wrapped: `sys.stdout` stays the same object, with its buffer, encoding
and file number, and what took hold of it earlier (a logging handler) is heard too. A `print` costs about a microsecond
more; lines are put together and handed over by a daemon thread, at most half a second after they ended.

What may be lost: a process that is killed loses at most the lines of its last half second, and a line that had not
ended. Not heard: bytes written to `sys.stdout.buffer` or to the file number, and what forked children print.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any

from mlrun.ids import now_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Line = tuple[int, str, str]
    Emit = Callable[[list[Line]], object]

__all__ = ["MAX_LINE", "ConsoleCapture", "capture"]

MAX_LINE = 64 * 1024  # characters of a line that are kept

_DELAY = 0.5  # seconds that a line waits at most
_WAKE = 2_000  # writes that wake the thread early; a print makes two
_BOUND = (
    100_000  # writes at which the printing thread itself hands over: the memory in use is bounded
)
_BATCH = 1_000  # lines in one call of `emit`


class ConsoleCapture:
    """Hears `sys.stdout` and `sys.stderr` between `start()` and `stop()`.

    `emit` gets lists of `(microseconds since the epoch, "stdout" | "stderr", line)`, in the order of printing within a
    stream, never from two threads at once. What it raises is counted in `failed`, never shown to who prints; what it
    prints itself is shown but not captured.

    A line that was overwritten with carriage returns (a progress bar) is kept in its last state. A line beyond 64 K
    characters is cut, with a note of how much is missing.

    Attributes:
        failed: lines that `emit` did not take.
    """

    def __init__(self, emit: Emit) -> None:
        self.failed = 0
        self._emit = emit
        self._taps: list[_Tap] = []
        self._lines = {"stdout": _Lines(), "stderr": _Lines()}
        self._waiting: deque[tuple[str, int, str]] = deque()
        self._reset()
        _captures.add(self)

    def _reset(self) -> None:
        self._live = False
        self._armed = False
        self._emitter = 0  # thread that is in `emit` now
        self._lock = threading.Lock()
        # a bare lock as a bell: `release` takes no Python lock, so a signal handler may print at any moment
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread: threading.Thread | None = None

    def start(self) -> ConsoleCapture:
        """Begin to hear the streams that `sys` holds now; a stream that cannot be wrapped is left alone."""
        if self._live:
            return self
        self._live = True
        self._taps = [
            tap
            for name in ("stdout", "stderr")
            if (tap := _Tap.on(getattr(sys, name, None), self._listener(name))) is not None
        ]
        self._thread = threading.Thread(target=self._watch, name="mlrun-console", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had: lines are handed over by flush() and stop()
            self._thread = None
        return self

    def flush(self, timeout: float = 2.0, *, last: bool = False) -> None:
        """Hand over every finished line now, and with `last` the unfinished ones; waits while a thread is doing so."""
        self._drain(timeout=timeout, last=last)

    def unfinished(self) -> list[Line]:
        """Return the last line of each stream that has not ended, as it stands; it goes on."""
        self._drain(timeout=2.0)
        parts = [(stream, lines.unfinished()) for stream, lines in self._lines.items()]
        return [(now_us(), stream, part) for stream, part in parts if part is not None]

    def stop(self) -> None:
        """Restore the streams and hand over everything, the unfinished last lines too; idempotent."""
        if not self._live:
            return
        for tap in self._taps:
            tap.remove()
        self._live = False
        self._ring()
        self._drain(timeout=2.0, last=True)

    def _listener(self, stream: str) -> Callable[[str], None]:
        append, waiting, clock, size = self._waiting.append, self._waiting, time.monotonic_ns, len

        def hear(text: str) -> None:
            # runs inside every print: as little as can be
            if not self._live or self._emitter == get_ident():
                return
            append((stream, clock(), text))
            if not self._armed:
                self._armed = True
                self._ring()
            elif size(waiting) == _WAKE:
                self._ring()
            elif size(waiting) >= _BOUND:
                self._drain(timeout=0.0)

        return hear

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    def _watch(self) -> None:
        bell = self._bell
        while self._live:
            bell.acquire()
            if self._live:
                bell.acquire(timeout=_DELAY)  # a second ring says that much is waiting
            self._armed = False
            self._drain(timeout=_DELAY)

    def _drain(self, *, timeout: float, last: bool = False) -> None:
        if self._emitter == get_ident():
            return
        if not self._lock.acquire(timeout=timeout):
            return  # the other thread takes these lines along, or the next round does
        try:
            batch: list[Line] = []
            for line in self._assemble(last=last):
                batch.append(line)
                if len(batch) >= _BATCH:
                    self._hand_over(batch)
                    batch = []
            if batch:
                self._hand_over(batch)
        finally:
            self._lock.release()

    def _assemble(self, *, last: bool) -> Iterator[Line]:
        epoch = now_us() - time.monotonic_ns() // 1000
        for _ in range(len(self._waiting)):
            stream, at, text = self._waiting.popleft()
            for line in self._lines[stream].feed(text):
                yield at // 1000 + epoch, stream, line
        if last:
            for stream, lines in self._lines.items():
                if (rest := lines.rest()) is not None:
                    yield now_us(), stream, rest

    def _hand_over(self, batch: list[Line]) -> None:
        self._emitter = get_ident()
        try:
            self._emit(batch)
        except Exception:  # noqa: BLE001 - printing must go on when the journal's disk is full; counted instead
            self.failed += len(batch)
        finally:
            self._emitter = 0


class _Lines:
    """Puts the writes to one stream together to lines."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._parts: list[str] = []
        self._kept = 0
        self._size = 0
        self._returned = False  # a carriage return waits for text to overwrite the line with

    def feed(self, text: str) -> Iterator[str]:
        """Add a write; yield the lines that it ends."""
        *ended, rest = text.split("\n")
        for part in ended:
            self._add(part)
            yield self._line()
            self._clear()
        self._add(rest)

    def rest(self) -> str | None:
        """Return the unfinished line, or None, and begin a new one."""
        line = self.unfinished()
        self._clear()
        return line

    def unfinished(self) -> str | None:
        """Return the line that has not ended, or None."""
        return self._line() if self._size else None

    def _add(self, part: str) -> None:
        if "\r" not in part and not self._returned:
            self._keep(part)
            return
        for index, piece in enumerate(part.split("\r")):
            self._returned = self._returned or index > 0
            if not piece:
                continue
            if self._returned:
                self._clear()
            self._keep(piece)

    def _keep(self, piece: str) -> None:
        self._size += len(piece)
        if piece and self._kept < MAX_LINE:
            piece = piece[: MAX_LINE - self._kept]
            self._kept += len(piece)
            self._parts.append(piece)

    def _line(self) -> str:
        line = "".join(self._parts)
        if self._size > self._kept:
            line += f" … [{self._size - self._kept:,} more characters]"
        # stderr may print undecodable bytes as lone surrogates, which no store takes
        return line if line.isascii() else line.encode("utf-8", "backslashreplace").decode("utf-8")


class _Tap:
    """The wrapped `write` of one stream object."""

    def __init__(self, stream: Any, hear: Callable[[str], None]) -> None:
        self.stream = stream
        self.write, self.own = _beneath(stream)
        self.heard = _wrap(self.write, hear, self)
        self.dead = False

    @classmethod
    def on(cls, stream: Any, hear: Callable[[str], None]) -> _Tap | None:
        """Wrap the stream's `write`; None for a stream that is not there or allows no attributes."""
        try:
            tap = cls(stream, hear)
            stream.write = tap.heard
        except AttributeError:
            return None
        return tap

    def remove(self) -> None:
        """Give the stream its own `write` back; under a later wrapper ours stays, and only passes on."""
        self.dead = True
        if getattr(self.stream, "__dict__", {}).get("write") is not self.heard:
            return
        write, own = _beneath(self.stream)
        if own:
            self.stream.write = write
        else:
            del self.stream.write


def _beneath(stream: Any) -> tuple[Callable[[str], Any], bool]:
    """Return the stream's `write` below dead taps, and whether it is an attribute of the object itself.

    Captures that end in another order than they began must not pile up.
    """
    write, own = stream.write, "write" in getattr(stream, "__dict__", {})
    while (tap := getattr(write, "tap", None)) is not None and tap.dead:
        write, own = tap.write, tap.own
    return write, own


def _wrap(
    write: Callable[[str], Any], hear: Callable[[str], None], tap: _Tap
) -> Callable[[str], Any]:
    def heard(text: str) -> Any:
        written = write(text)
        hear(text)
        return written

    heard.tap = tap  # type: ignore[attr-defined]
    return heard


def capture(emit: Emit) -> ConsoleCapture:
    """Start to capture; `stop()` on the result ends it."""
    return ConsoleCapture(emit).start()


_captures: weakref.WeakSet[ConsoleCapture] = weakref.WeakSet()


def _quiet_after_fork() -> None:
    # the lines belong to the parent's run, and no thread of this process would hand them over
    for one in list(_captures):
        one._waiting.clear()
        one._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_quiet_after_fork)
