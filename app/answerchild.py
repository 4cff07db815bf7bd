"""A process that answers questions of callers, one after the other; see `app.answerpool`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.lookup.look import Look
from mlrun.lookup.restricted import ProjectsOnly

from .answered import finished
from .answering import ANSWERS
from .answerpool import packed
from .childloop import answer_all

if TYPE_CHECKING:
    from mlrun.store import Store

    from .answerpool import Asked

__all__ = ["answer"]


def answer(store: Store, asked: tuple[Asked | None, bool]) -> bytes:
    """Return a question's answer, as this caller may see it.

    Args:
        store: what is asked.
        asked: the question, and whether it needs a look at the store of its own: it was asked after the last one
            began. Without a question that look is closed, and the answer is empty.
    """
    question, anew = asked
    if anew or question is None:
        look, store.look = store.look, None
        if look is not None:
            look.close()
    if question is None:
        return b""
    if store.look is None and store.exists():
        store.look = Look(store)
    seen = ProjectsOnly(store, question.only, question.url)
    return packed(finished(ANSWERS[question.name](seen, *question.arguments), question.form))


if __name__ == "__main__":
    answer_all(answer)
