"""What the conformance suite of executors has them call: importable by name wherever mlrun is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "add",
    "burst",
    "die",
    "fail",
    "grown",
    "import_named",
    "mark",
    "say",
    "sleep_while_ticking",
    "ticks",
    "told_type",
    "variable",
    "wait_for",
    "write_into",
]


def add(a: Any, b: Any = 1) -> Any:
    """Return the sum."""
    return a + b


def fail(text: str, count: str = "") -> None:
    """Raise ValueError, having left a line in the file `count`."""
    if count:
        mark(count)
    raise ValueError(text)


def mark(path: str) -> None:
    """Leave one line in a file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write("x\n")


def wait_for(path: str, value: Any = None, begun: str = "") -> Any:
    """Return the value once the file is there; `begun` is a file that tells that the call runs."""
    if begun:
        mark(begun)
    while not os.path.exists(path):
        time.sleep(0.01)
    return value


def die(count: str = "") -> None:
    """End this process as the kernel would."""
    if count:
        mark(count)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_while_ticking(path: str, seconds: float = 600.0) -> None:
    """Sleep in native code while a thread adds a byte to the file every few milliseconds."""

    def tick() -> None:
        with open(path, "ab", buffering=0) as file:
            while True:
                file.write(b"x")
                time.sleep(0.005)

    threading.Thread(target=tick, daemon=True).start()
    time.sleep(seconds)


def ticks(path: Path) -> int:
    """Return how many bytes the file has."""
    return path.stat().st_size if path.exists() else 0


def say(count: int, pause: float = 0.0) -> None:
    """Print lines: through print, to stderr, from a child process, and at the end one without its newline."""
    for number in range(count):
        print(f"line {number}", flush=True)  # noqa: T201
        time.sleep(pause)
    print("an error line", file=sys.stderr, flush=True)  # noqa: T201
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    print("without an end", end="", flush=True)  # noqa: T201


def variable(*names: str) -> list[str | None]:
    """Return environment variables."""
    return [os.environ.get(name) for name in names]


def import_named(module: str, name: str) -> Any:
    """Return a value of a module."""
    from importlib import import_module

    return getattr(import_module(module), name)


def told_type(value: Any) -> str:
    """Return the name of the value's class."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"


def write_into(array: Any) -> str:
    """Try to write into an array; returns the error."""
    try:
        array[0] = 7
    except ValueError as error:
        return str(error)
    return ""


def grown(table: Any, path: str) -> int:
    """Read every byte of a table, wait for the file; returns the bytes that this process alone has for it (USS)."""
    import psutil
    import pyarrow.compute as pc

    before = psutil.Process().memory_full_info().uss
    for column in table.columns:
        pc.sum(column).as_py()
    wait_for(path)
    return int(psutil.Process().memory_full_info().uss - before)


def burst(megabytes: int) -> Any:
    """Return an array of that size."""
    import numpy as np

    return np.full(megabytes * 125_000, float(megabytes))
