"""How runs end when nobody calls `finish()`: the interpreter's end, signals, forks.

| what happens                                     | state of the runs still open                  |
|--------------------------------------------------|-----------------------------------------------|
| the script ends, `sys.exit()`, `sys.exit(0)`     | completed                                     |
| an uncaught exception                            | error, with the traceback                     |
| `sys.exit(n)`, n not 0, in the main thread       | error, "exit code n"                          |
| SIGTERM                                          | aborted (the process exits with code 143)     |
| ctrl-C that nobody caught                        | aborted                                       |
| kill -9, a crash of the interpreter, power loss  | lost: readers see that the writer is dead     |

The SIGTERM handler only notes the signal and raises `SystemExit(143)`; it takes no lock and writes nothing, and while
the runs of a script are being ended it lets that go on. A run whose end it interrupts is open again, to be ended as
aborted. It is installed by the first `init`, in the main thread, and
only over the default handler: a handler of the user's stays. A forked child gets the default handler back and never
ends its parent's runs. A worker process of `multiprocessing` leaves without the interpreter's end: its own runs end
as the worker does, by a finalizer of `multiprocessing`.
"""

from __future__ import annotations

import atexit
import builtins
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from mlrun.journal.writer import Writer
    from mlrun.tracking.run import Run

__all__ = [
    "close_at_exit",
    "closed",
    "end_all",
    "install",
    "is_open",
    "opened",
    "outcome_of",
    "traceback_text",
]

_EXIT_WAIT = 0.5  # seconds that the interpreter's end waits for provenance
_MAX_TRACEBACK = 64 * 1024

_live: dict[int, Run] = {}  # runs that are open in this process
_writers: dict[int, Writer] = {}
_installed = False
_ends_with_worker = False
_ending = False
_signal = ""
_exit_note: tuple[Any, dict[int, tuple[int, int]]] | None = None
_error_at_fork: BaseException | None = None  # what the parent was handling then


def opened(run: Run) -> None:
    """Remember a run that must be ended at the interpreter's end."""
    _live[id(run)] = run


def closed(run: Run) -> None:
    """Forget a run that has ended."""
    _live.pop(id(run), None)


def is_open(run: Run) -> bool:
    """Whether the run would be ended at the interpreter's end."""
    return id(run) in _live


def close_at_exit(writer: Writer) -> None:
    """Remember a journal writer that seals its files at the interpreter's end."""
    _writers[id(writer)] = writer
    _end_with_worker()


def install() -> None:
    """Install the exit hook, and in the main thread the SIGTERM handler; once a process."""
    global _installed  # hooks are the process's
    if not _installed:
        _installed = True
        atexit.register(_at_exit)
        sys.exit = _exit  # the only place where an exit code can be seen
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def outcome_of(error: BaseException | None) -> tuple[str, str | None]:
    """Return (state, error text) of a run whose block ended with this exception.

    Example:
        >>> outcome_of(None), outcome_of(KeyboardInterrupt())[0], outcome_of(SystemExit(3))
        (('completed', None), 'aborted', ('error', 'exit code 3'))
    """
    if error is None:
        return "completed", None
    if isinstance(error, SystemExit):
        if _signal:
            return "aborted", _signal
        return _outcome_of_exit(error.code)
    if isinstance(error, KeyboardInterrupt):
        return "aborted", "KeyboardInterrupt"
    if isinstance(error, GeneratorExit) or type(error).__name__ == "CancelledError":
        return "aborted", type(error).__name__
    return "error", traceback_text(error)


def traceback_text(error: BaseException) -> str:
    """Return the traceback as Python prints it, without local values and with credentials hidden."""
    import traceback

    from mlrun.redact import redact_text

    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  an exception whose own text fails still ended the run
        text = f"{type(error).__name__}\n"
    if len(text) > _MAX_TRACEBACK:  # the end says what happened
        text = "…\n" + text[-_MAX_TRACEBACK:]
    return redact_text(text)


def _outcome_of_exit(code: Any) -> tuple[str, str | None]:
    if code is None or code == 0:
        return "completed", None
    return "error", f"exit code {code}" if isinstance(code, int) else str(code)[:4096]


def _on_sigterm(number: int, frame: object) -> None:
    global _signal  # read when the runs are ended
    if _ending and not _ends_with_worker:  # a pool counts on its SIGTERM to end a worker
        return  # the process is leaving: an exception now would leave runs behind that nobody ends
    _signal = "SIGTERM"
    raise SystemExit(128 + number)


def _exit(status: Any = None, /) -> NoReturn:
    """Exit the interpreter by raising SystemExit(status)."""
    global _exit_note  # read at the interpreter's end
    if threading.current_thread() is threading.main_thread():
        _exit_note = (status, {key: run.activity() for key, run in list(_live.items())})
    raise SystemExit(status)


def end_all(error: BaseException | None = None) -> None:
    """End every run that is open in this process, as the interpreter's end would, and seal the journal's files.

    Args:
        error: what is ending the process; default what the interpreter noted.

    Raises:
        SystemExit, KeyboardInterrupt: what interrupted it, once all is done.
    """
    global _ending  # told to the SIGTERM handler
    _ending = True
    stopped: BaseException | None = None
    try:
        for key, run in list(_live.items()):
            try:
                run.end(*(_verdict(key, run) if error is None else outcome_of(error)))
            except (SystemExit, KeyboardInterrupt) as interrupt:
                # the run is open again, and nobody else would end it now
                stopped = interrupt
                run.end(*outcome_of(interrupt))
        from mlrun.tracking.background import drain

        drain(_EXIT_WAIT)
        for writer in list(_writers.values()):
            with suppress(
                Exception
            ):  # the files stay as they are, and are sealed by who absorbs them
                writer.close()
        from mlrun.tracking.delivery import deliver_left

        with suppress(Exception):  # it stays in the spool
            deliver_left()
    finally:
        _ending = False
    if stopped is not None:
        raise stopped


def _end_with_worker() -> None:
    """In a worker process of multiprocessing, have it end the runs: it leaves by `os._exit`, past all exit hooks."""
    global _ends_with_worker  # once a process
    # both are loaded in every worker; a program that has no workers does not load them for us
    processes = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if _ends_with_worker or processes is None or util is None:
        return
    if processes.parent_process() is not None:
        _ends_with_worker = True
        # the last of all: queues are emptied (priority -5) and the worker's own children have ended
        util.Finalize(None, _at_workers_end, exitpriority=-100)


def _at_workers_end() -> None:
    error = sys.exc_info()[1]  # multiprocessing calls this while the exception is on its way
    end_all(None if error is _error_at_fork else error)


def _at_exit() -> None:
    end_all()
    if isinstance(last_error(), KeyboardInterrupt) and not _is_interactive():
        # What runs at exit wipes the interpreter's note that ctrl-C ended it, and with it the exit status that shells
        # and schedulers look at; raising it once more from a string puts the note back.
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")


def _verdict(key: int, run: Run) -> tuple[str, str | None]:
    if _signal:
        return "aborted", _signal
    if not _is_interactive():
        error = last_error()
        if error is not None and error is not run.error_before:
            return outcome_of(error)
    if _exit_note is not None:
        status, activity = _exit_note
        if activity.get(key) == run.activity():  # written to since: somebody caught that exit
            return _outcome_of_exit(status)
    return "completed", None


def last_error() -> BaseException | None:
    """Return the exception that the interpreter printed last; it ends a script, and is one of many in a session."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None


def _is_interactive() -> bool:
    return bool(hasattr(sys, "ps1") or sys.flags.interactive or hasattr(builtins, "__IPYTHON__"))


def _after_fork() -> None:
    global _signal, _exit_note, _ends_with_worker, _error_at_fork, _ending  # the child's own fate is open
    _signal = ""
    _exit_note = None
    _ends_with_worker = _ending = False
    _error_at_fork = sys.exc_info()[1]
    for run in _live.values():
        run.become_inherited()
    _live.clear()
    with suppress(ValueError):  # not the main thread: the handler stays, and only raises SystemExit
        if signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
