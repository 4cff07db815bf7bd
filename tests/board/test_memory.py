from __future__ import annotations

import time
from typing import Any

import pytest
import streamlit as st

from mlrun.app.board.memory import forget, kept


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    state: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", state)
    return state


def test_an_answer_is_kept_until_the_question_changes_or_it_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    answers = iter(range(10))

    def ask(question: str, seconds: float = 5.0) -> int:
        found: int = kept("runs", question, seconds, lambda: next(answers))
        return found

    assert [ask("a"), ask("a"), ask("b"), ask("a")] == [0, 0, 1, 2]
    clock[0] += 4
    assert ask("a") == 2
    assert ask("a", seconds=3) == 3
    clock[0] += 5
    assert ask("a") == 4


def test_answers_are_forgotten_by_kind_or_altogether() -> None:
    answers = iter(range(10))

    def ask(kind: str) -> int:
        found: int = kept(kind, (), 60, lambda: next(answers))
        return found

    assert [ask("a"), ask("b")] == [0, 1]
    forget("a", "never")
    assert [ask("a"), ask("b")] == [2, 1]
    forget()
    assert [ask("a"), ask("b")] == [3, 4]


def test_an_answer_that_failed_is_asked_for_again() -> None:
    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept("a", (), 60, fail)
    assert kept("a", (), 60, lambda: 1) == 1
