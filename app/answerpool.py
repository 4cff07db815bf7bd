"""Answers worked out in processes beside the gateway's, or in its own threads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.errors import QueryError

from .answering import ANSWERS, Answered
from .child import ChildDied, Children, Limits

if TYPE_CHECKING:
    from mlrun.store import Store

    from .auth import Caller
    from .options import Options

__all__ = ["AnswerPool", "packed"]

_SECONDS = 120.0
_BYTES = 8 << 30


class AnswerPool:
    """Works out answers.

    Args:
        store: what is asked.
        options: how many processes; 0 for none.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._children: Children | None = None
        self._number = options.answer_processes
        if options.answer_processes:
            limits = Limits(_SECONDS, _BYTES, _too_much)
            self._children = Children(
                "mlrun.app.answerchild", store, options.answer_processes, limits
            )

    def run(self, caller: Caller, name: str, *arguments: Any) -> Answered:
        """Return an answer as this caller may see it; called in a thread."""
        if self._children is None:
            return ANSWERS[name](caller.seen(self._store), *arguments)
        asked = (name, arguments, caller.projects("read"), caller.at)
        try:
            return _unpacked(self._children.run(asked))
        except ChildDied:
            return _unpacked(self._children.run(asked))  # it changes nothing: another may answer

    def warm(self) -> None:
        """Start the processes before somebody asks; called in a thread."""
        if self._children is not None:
            self._children.warm(self._number)

    def close(self) -> None:
        """End the processes."""
        if self._children is not None:
            self._children.close()


def packed(found: Answered) -> bytes:
    """Return an answer as bytes: a line of JSON, then the body."""
    return json.dumps([found.kind, found.headers]).encode() + b"\n" + found.body


def _unpacked(body: bytes) -> Answered:
    head, _, rest = body.partition(b"\n")
    kind, headers = json.loads(head)
    return Answered(rest, kind, headers)


def _too_much(what: str) -> QueryError:
    return QueryError(f"the answer took more than {what} and was given up: ask for less")
