"""The worker process of `local`: `python -m mlrun.executors.localworker FD` takes calls from a socket, one at a time.

It is a program of its own, so that the user's main module is never imported again: functions of it come by value. The
thread that reads the socket sees at once when the driver is gone, and ends the process as SIGTERM does: the run that
is being performed ends as `aborted`.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from importlib import import_module
from multiprocessing.connection import Connection

import cloudpickle

from mlrun.execution.environment import environment
from mlrun.execution.pickling import dump
from mlrun.tracking.lifecycle import install, outcome_of

__all__ = ["main", "pack_failure"]

_GRACE = 3.0  # seconds between the driver's end and this process's


def main(fd: int) -> None:
    """Serve the socket until its other end is closed."""
    conn = Connection(fd)
    path, modules = pickle.loads(conn.recv_bytes())
    sys.path[:] = path
    calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    idle = threading.Event()
    idle.set()
    gone = threading.Event()
    threading.Thread(target=_listen, args=(conn, calls, idle, gone), daemon=True).start()
    for module in modules:
        import_module(module)
    install()
    conn.send_bytes(b"ready")
    while (call := calls.get()) is not None:
        idle.clear()
        if (
            gone.is_set()
        ):  # looked at in this order, and by `_listen` in the other: one of them sees it
            return
        answer = _answer(call)
        sys.stdout.flush()
        sys.stderr.flush()
        idle.set()
        conn.send_bytes(answer)
        if outcome_of(SystemExit())[0] == "aborted":
            return  # it was told to go while a run was performed, which has ended as aborted


def _listen(
    conn: Connection,
    calls: queue.SimpleQueue[bytes | None],
    idle: threading.Event,
    gone: threading.Event,
) -> None:
    try:
        while True:
            calls.put(conn.recv_bytes())
    except (EOFError, OSError):
        gone.set()
        calls.put(None)
    if not idle.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        if not idle.wait(_GRACE):
            os._exit(143)


def _answer(call: bytes) -> bytes:
    try:
        fn, args, around = pickle.loads(call)
        with environment(*around):
            value = fn(*args)
        return b"v" + dump(value)
    except SystemExit as error:
        if outcome_of(error)[0] == "aborted":  # it was told to go
            raise
        return pack_failure(error)
    except BaseException as error:  # noqa: BLE001  whatever the call raised goes to who waits for it
        return pack_failure(error)


def pack_failure(error: BaseException) -> bytes:
    """Return the answer that carries an exception: its traceback as text, and itself if it can be pickled."""
    text = "".join(traceback.format_exception(error))
    try:
        carried = cloudpickle.dumps(error, protocol=5)
        pickle.loads(carried)
    except Exception:  # noqa: BLE001  then the text must do
        carried = b""
    return b"e" + pickle.dumps((f"{type(error).__name__}: {error}", text, carried))


if __name__ == "__main__":
    main(int(sys.argv[1]))
