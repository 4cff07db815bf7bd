"""Sortable ids and the one clock.

Ids are UUIDv7 text (RFC 9562): 48 bits of Unix milliseconds, then a counter and random bits, so that text order is
creation order, also within one millisecond of one process.

Time is microseconds since the Unix epoch, UTC, as an int. Within a process it is taken from the boot-time clock plus an
offset fixed once, so that a wall clock that is set back never makes a later point look earlier.
"""

from __future__ import annotations

import os
import threading
import time

__all__ = ["advance_clock", "now_us", "uuid7"]

_CLOCK = time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC
_clock_ns = time.clock_gettime_ns
_offset_ns = time.time_ns() - _clock_ns(_CLOCK)
_lock = threading.Lock()
_last = 0


def now_us() -> int:
    """Return microseconds since the Unix epoch; never decreases within a process."""
    return (_clock_ns(_CLOCK) + _offset_ns) // 1000


def advance_clock(past_us: int) -> None:
    """Make `now_us()` at least `past_us` from here on.

    A resumed run may hold points from a machine whose clock was ahead; what is written next is written later.
    """
    global _offset_ns  # the process has one clock
    with _lock:
        behind = past_us - now_us()
        if behind > 0:
            _offset_ns += behind * 1000


def uuid7() -> str:
    """Return a new UUIDv7 as 36 characters of text, greater than every earlier one of this process."""
    global _last  # keeps ids of one millisecond in order
    with _lock:
        # 60 bits: 48 of milliseconds and 12 of sub-millisecond count
        tick = max(_last + 1, (now_us() * 4096) // 1000)
        _last = tick
    ms, seq = tick >> 12, tick & 0xFFF
    tail = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    h = f"{ms:012x}7{seq:03x}{tail:016x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _renew_after_fork() -> None:
    global _lock  # the parent's lock may have been held at the fork
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
