"""The side of a Ray worker: makes the calls that `mlrun.executors.ray_cluster` sends."""

from __future__ import annotations

import inspect
import os
import pickle
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError, NotFound
from mlrun.execution.secrets import read_reference

from .localworker import pack_failure
from .ray_values import pack_value, unpack_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Place", "Setup", "call", "ends_of", "here", "plain_call", "read_slice", "was_interrupted",
    "watched_call",
]  # fmt: skip

_TELL = 0.1  # seconds for an answer to be on its way


@dataclass(frozen=True)
class Setup:
    """What a call finds in its worker.

    Attributes:
        paths: folders for `sys.path`, and `cwd` the working folder: the driver's, on hosts that have them.
        secrets: name of a variable -> `env:NAME` or `file:PATH`, read here and unset after the call.
        source: name (a hash) of an archive of code; `archive` holds the reference of its bytes.
    """

    paths: tuple[str, ...] = ()
    cwd: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    archive: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a call runs, and where what it prints is: two files and the offsets at which it begins."""

    node: str
    pid: int
    files: tuple[str, ...]
    starts: tuple[int, ...]


def call(setup: Setup, function: bytes, arguments: bytes, *shared: Any) -> tuple[str, Any]:
    """Make a call; returns `("v", value)` or `("e", what pack_failure returns)`."""
    try:
        with ready(setup):
            fn, _ = pickle.loads(function)
            _, packed = pickle.loads(arguments)
            value = fn(*unpack_value(packed, shared))
            if inspect.iscoroutine(value):
                import asyncio

                value = asyncio.run(value)
        return "v", pack_value(value)
    except KeyboardInterrupt:
        raise  # Ray's way to cancel
    except BaseException as error:  # noqa: BLE001  whatever the call raised goes to who waits for it
        return "e", pack_failure(error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()


def watched_call(setup: Setup, function: bytes, arguments: bytes, *shared: Any) -> Iterator[Any]:
    """Yield the call's `Place` when it begins, then `(answer, ends)`: what `call` returns, where its output ends."""
    place = here()
    yield place
    try:
        answer = call(setup, function, arguments, *shared)
    except KeyboardInterrupt:
        os._exit(1)  # cancelled: threads of the call end with it
    yield answer, ends_of(place)
    if was_interrupted(answer):
        time.sleep(_TELL)
        os._exit(0)  # with the threads that the call has left; nobody else shall have this process


def plain_call(setup: Setup, function: bytes, arguments: bytes, *shared: Any) -> tuple[str, Any]:
    """Make a call of a map; as `call`, but when it is cancelled its process ends."""
    try:
        return call(setup, function, arguments, *shared)
    except KeyboardInterrupt:
        os._exit(1)


def was_interrupted(answer: tuple[str, Any]) -> bool:
    """Whether a run was aborted in here, and what it had begun may go on in threads."""
    kind, value = answer
    return kind == "v" and isinstance(value, dict) and value.get("state") == "aborted"


def read_slice(path: str, start: int, end: int | None) -> bytes:
    """Return bytes of a file of this node; empty where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(-1 if end is None else max(0, end - start))
    except OSError:
        return b""


def here() -> Place:
    """Return where this process is, and where its output has come to."""
    import ray

    worker = ray._private.worker.global_worker
    found = (worker.get_out_file_path(), worker.get_err_file_path())
    files = tuple(str(path) for path in found if path)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    node = ray.get_runtime_context().get_node_id()
    return Place(node, os.getpid(), files, tuple(_size(path) for path in files))


def ends_of(place: Place) -> tuple[int, ...]:
    """Return where the output of a call ends now."""
    return tuple(_size(path) for path in place.files)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


@contextmanager
def ready(setup: Setup) -> Iterator[None]:
    """Give the call its folders and secrets, and take the secrets away afterwards."""
    _install()
    for path in reversed(setup.paths):
        if path not in sys.path and os.path.isdir(path):
            sys.path.insert(0, path)
    if setup.source:
        _bring(setup)
    if setup.cwd:
        with suppress(OSError):
            os.chdir(setup.cwd)
    before = {name: os.environ.get(name) for name in setup.secrets}
    try:
        os.environ.update({n: _resolve(n, r) for n, r in setup.secrets.items()})
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _install() -> None:
    from mlrun.tracking.lifecycle import install

    install()


def _resolve(name: str, reference: str) -> str:
    try:
        return read_reference(reference)
    except NotFound:
        raise ExecutorError(
            f"secret {name}: {reference} is not there where the work runs"
        ) from None


def _bring(setup: Setup) -> None:
    """Put the code that came along on `sys.path`; this worker serves no other code (see `ray_needs`)."""
    import ray

    from mlrun.execution.codefolder import unpack_code

    known: dict[str, str] = sys.__dict__.setdefault("_mlrun_sources", {})
    if setup.source not in known:
        known[setup.source] = folder = unpack_code(ray.get(setup.archive[0]))
        sys.path.insert(0, folder)
