"""A process that answers questions of callers, one after the other; see `app.answerpool`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.lookup.restricted import ProjectsOnly

from .answering import ANSWERS
from .answerpool import packed
from .childloop import answer_all

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["answer"]


def answer(store: Store, asked: tuple[str, tuple[Any, ...], Any, str]) -> bytes:
    """Return a question's answer, as this caller may see it."""
    name, arguments, only, url = asked
    return packed(ANSWERS[name](ProjectsOnly(store, only, url), *arguments))


if __name__ == "__main__":
    answer_all(answer)
