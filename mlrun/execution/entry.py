"""One call, written down as text, and the process that makes it: what job executors start elsewhere.

The driver writes the call down (`describe`), an executor carries the text to a new process (`python -m
mlrun.execution.entry`, the text in `MLRUN_EXEC_CALL`), and that process says on its standard output how it ended, in
lines that `Outcome` reads out of the job's log. So a job executor needs nothing but an environment variable on the way
there and a log on the way back.

A function of an installed package travels by name, any other by value (cloudpickle); arguments travel as JSON where
they can. The text is compressed and in base64, so that no shell on the way finds anything to expand in it. It holds
references to secrets, never secrets: `env:NAME` and `file:PATH` are read here, where the work runs.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import os
import sys
import threading
import traceback
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError, JobAborted
from mlrun.execution.secrets import read_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "CALL",
    "COMMAND",
    "Outcome",
    "OutcomeReader",
    "describe",
    "describe_object",
    "main",
    "perform_text",
]

CALL = "MLRUN_EXEC_CALL"  # the variable that holds the call
COMMAND = "python -m mlrun.execution.entry"  # what an executor starts

_STARTED = "::mlrun-started"
_OUTCOME = "::mlrun-outcome"
_LINE = 4_000  # characters of an outcome in one line: container logs cut lines at 16 KB


def describe(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    *,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    archive: bytes | None = None,
    time_limit: float | None = None,
) -> str:
    """Write the call `fn(*args)` down.

    Args:
        fn: the function.
        args: its arguments.
        env: variables to set before anything is imported.
        secrets: names of variables -> `env:NAME` or `file:PATH`, read where the call is made.
        archive: zip file of code that is unpacked there and put on `sys.path`.
        time_limit: seconds after which that process ends itself, whatever the call does.

    Raises:
        ExecutorError: an argument can neither be written as JSON nor pickled.
    """
    call: dict[str, Any] = {"args": [_write(arg, f"argument {i}") for i, arg in enumerate(args)]}
    call["fn"] = {"name": name} if (name := _name_of(fn)) else _write(fn, "the function")
    call["python"] = list(sys.version_info[:2])
    if env:
        call["env"] = dict(env)
    if secrets:
        call["secrets"] = dict(secrets)
    if archive:
        call["archive"] = base64.b64encode(archive).decode()
    if time_limit is not None:
        call["time_limit"] = time_limit
    return _as_text(call)


def describe_object(sha256: str, store: Mapping[str, str]) -> str:
    """Write down that the call is an object of a store: what is too large for an environment variable.

    Args:
        sha256: of the object, which holds what `describe` returned.
        store: settings that open the store there (`dbpath`, `objects_url`); no secrets.
    """
    return _as_text({"object": sha256, "store": dict(store)})


def _as_text(call: dict[str, Any]) -> str:
    data = json.dumps(call, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(data, 6)).decode()


def _load(text: str) -> dict[str, Any]:
    call: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    if "object" not in call:
        return call
    from mlrun.config import settings
    from mlrun.store import open_store

    with open_store(given=settings(**call["store"])).objects.open(call["object"]) as file:
        return _load(file.read().decode())


def _name_of(fn: Any) -> str:
    """Return `module:qualname` where the other side can import the same function, else nothing."""
    module, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    if found is None or not _is_installed(found):
        return ""
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return f"{module}:{qualname}" if found is fn else ""


def _is_installed(module: Any) -> bool:
    top = module.__name__.partition(".")[0]
    file = getattr(module, "__file__", None) or ""
    return top == "mlrun" or top in sys.stdlib_module_names or "site-packages" in file


def _write(value: Any, what: str) -> dict[str, Any]:
    kind = type(value)
    if hasattr(kind, "to_json") and hasattr(kind, "from_json"):
        return {"type": f"{kind.__module__}:{kind.__qualname__}", "json": value.to_json()}
    try:
        if json.loads(text := json.dumps(value, allow_nan=False)) == value and not _loses(value):
            return {"json": json.loads(text)}
    except (TypeError, ValueError, RecursionError):
        pass  # JSON has no form for it: it is pickled
    return {"pickle": base64.b64encode(_pickle(value, what)).decode()}


def _loses(value: Any) -> bool:
    """Whether JSON would hand back another type for something inside (a tuple, a bool that is a NumPy one)."""
    if isinstance(value, dict):
        return type(value) is not dict or any(
            type(k) is not str or _loses(v) for k, v in value.items()
        )
    if isinstance(value, list):
        return type(value) is not list or any(map(_loses, value))
    return value is not None and type(value) not in (str, int, float, bool)


def _pickle(value: Any, what: str) -> bytes:
    import cloudpickle  # type: ignore[import-not-found,import-untyped,unused-ignore]

    module = sys.modules.get(getattr(value, "__module__", None) or "")
    by_value = module is not None and module.__name__ != "__main__" and not _is_installed(module)
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise ExecutorError(
            f"{what} ({type(value).__name__}) cannot be sent: {type(error).__name__}: {error}"
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)


def _read(written: dict[str, Any], python: list[int]) -> Any:
    if "name" in written:
        return _named(written["name"])
    if "type" in written:
        return _named(written["type"]).from_json(written["json"])
    if "json" in written:
        return written["json"]
    import pickle

    if python != list(sys.version_info[:2]):
        here = ".".join(map(str, sys.version_info[:2]))
        raise ExecutorError(
            f"the call was pickled by Python {'.'.join(map(str, python))} and this is {here}: use an image "
            "with the driver's Python, or put the function into a package of the image"
        )
    return pickle.loads(base64.b64decode(written["pickle"]))  # what the driver sent, nobody else


def _named(name: str) -> Any:
    from importlib import import_module

    module, _, qualname = name.partition(":")
    found: Any = import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def main() -> int:
    """Make the call that `MLRUN_EXEC_CALL` holds, say how it ended; returns the exit code."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")  # user code may replace or close sys.stdout
    print(f"{_STARTED} {os.getpid()}", file=out, flush=True)
    text = os.environ.pop(CALL, "")
    outcome = (
        perform_text(text, on_limit=lambda found: _tell(found, out))
        if text
        else _failed(ExecutorError(f"{CALL} is not set"))
    )
    _tell(outcome, out)
    out.close()
    return 0 if outcome["ok"] else 1


def _tell(outcome: dict[str, Any], out: Any) -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__):
        with suppress(AttributeError, OSError, ValueError):  # None, closed, or somebody's own
            stream.flush()  # type: ignore[union-attr]
    blob = base64.b64encode(zlib.compress(json.dumps(outcome).encode())).decode()
    parts = [blob[i : i + _LINE] for i in range(0, len(blob), _LINE)]
    for number, part in enumerate(parts):
        print(f"{_OUTCOME} {number}/{len(parts)} {part}", file=out, flush=True)


def _end_after(seconds: float, on_limit: Callable[[dict[str, Any]], object]) -> threading.Timer:
    """End this process when the time is over: a thread cannot be stopped, and native code hears no signal."""

    def end() -> None:
        on_limit(
            _failed(JobAborted(f"the call was cancelled after its time limit of {seconds:g} s"))
        )
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def perform_text(
    text: str, *, on_limit: Callable[[dict[str, Any]], object] | None = None
) -> dict[str, Any]:
    """Make a call that `describe` wrote down; returns `{"ok": …}` with value or error, and never raises.

    When the call has a time limit and `on_limit` is given, that hears the outcome and the process ends.
    """
    timer: threading.Timer | None = None
    try:
        call = _load(text)
        os.environ.update(call.get("env", {}))
        for name, reference in call.get("secrets", {}).items():
            os.environ[name] = read_reference(reference)
        if "archive" in call:
            from mlrun.execution.codefolder import unpack_code

            sys.path.insert(0, unpack_code(base64.b64decode(call["archive"])))
        if on_limit is not None and "time_limit" in call:
            timer = _end_after(call["time_limit"], on_limit)
        fn = _read(call["fn"], call["python"])
        value = fn(*[_read(arg, call["python"]) for arg in call["args"]])
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the call raises is its outcome, SystemExit too
        return _failed(error)
    finally:
        if timer is not None:
            timer.cancel()
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        what = f"the result ({type(value).__name__}) is not JSON: {error}"
        return _failed(ExecutorError(f"{what}; log it as an artifact, or return plain values"))
    return {"ok": True, "value": value}


def _failed(error: BaseException) -> dict[str, Any]:
    trace = "".join(traceback.format_exception(error))
    args = [a if isinstance(a, str | int | float | bool | None) else str(a) for a in error.args]
    kind = type(error)
    return {
        "ok": False,
        "type": f"{kind.__module__}:{kind.__qualname__}",
        "args": args,
        "traceback": trace,
    }


@dataclass
class Outcome:
    """How a call ended, as the driver hears it.

    Attributes:
        ok: whether it returned.
        value: what it returned.
        error: its exception; of its own class where that is a builtin or one of mlrun's.
        traceback: of the other side.
    """

    ok: bool
    value: Any = None
    error: BaseException | None = None
    traceback: str = ""

    @classmethod
    def of(cls, found: dict[str, Any]) -> Outcome:
        """Read what `perform_text` returned."""
        if found["ok"]:
            return cls(True, found["value"])
        return cls(False, error=_rebuild(found), traceback=found["traceback"])


def _rebuild(found: dict[str, Any]) -> BaseException:
    module, _, name = found["type"].partition(":")
    if module in {"builtins", "mlrun.errors"}:
        try:
            kind = _named(found["type"])
            if isinstance(kind, type) and issubclass(kind, BaseException):
                return kind(*found["args"])
        except (AttributeError, TypeError):
            pass  # of another version, or made with other arguments: its name and words are kept
    return RuntimeError(f"{name}: {', '.join(map(str, found['args']))}")


@dataclass
class OutcomeReader:
    """Takes our own lines out of a job's log.

    Attributes:
        started: whether the process got as far as the call.
        outcome: how it ended, once all of its lines were read.
    """

    started: bool = False
    outcome: Outcome | None = None
    _parts: dict[int, str] = field(default_factory=dict)

    def rest_of(self, line: str) -> str | None:
        """Read one line of the log; returns what the call itself printed in it, None for a line of ours alone."""
        if line.startswith(_STARTED):
            self.started = True
            return None
        before, mark, after = line.partition(_OUTCOME)  # a print without a newline stands before it
        if not mark:
            return line
        place, _, part = after.strip().partition(" ")
        number, _, count = place.partition("/")
        if not (number.isdigit() and count.isdigit()):
            return line
        self._parts[int(number)] = part
        if len(self._parts) == int(count):
            blob = "".join(self._parts[i] for i in range(int(count)))
            self.outcome = Outcome.of(json.loads(zlib.decompress(base64.b64decode(blob))))
        return before or None


if __name__ == "__main__":
    sys.exit(main())
