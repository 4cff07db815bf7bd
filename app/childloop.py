"""The life of a child: it is told its store, then answers one message after the other until the pipe is closed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.redact import redact_text
from mlrun.store import Store
from mlrun.wire import problem_of

from .child import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["answer_all"]

_NICE = 5  # who answers lets the gateway go first: its event loop has little to do, for everybody


def answer_all(answer: Callable[[Store, Any], bytes | memoryview]) -> None:
    """Answer until the gateway closes the pipe."""
    if hasattr(os, "nice"):
        os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the gateway ends us
    source = sys.stdin.buffer
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing else speaks there
    # the pipe is the gateway's own: nobody else can write to it
    folder, urls = pickle.loads(_message(source))
    store = Store(Path(folder), **urls)
    while asked := _message(source):
        kind, body = _answered(answer, store, pickle.loads(asked))
        out.write(HEAD.pack(kind, len(body)))
        out.write(body)
        out.flush()


def _message(source: Any) -> bytes:
    head = source.read(HEAD.size)
    if len(head) < HEAD.size:
        sys.exit(0)
    return bytes(source.read(HEAD.unpack(head)[1]))


def _answered(
    answer: Callable[[Store, Any], bytes | memoryview], store: Store, asked: Any
) -> tuple[int, bytes | memoryview]:
    try:
        return 0, answer(store, asked)
    except MlrunError as error:
        return 1, json.dumps(problem_of(error)).encode()
    except Exception:  # noqa: BLE001 - the gateway logs it, and this process goes on
        return 2, redact_text(traceback.format_exc()).encode("utf-8", "replace")
