"""Streams of every sort, and writes cut in every way."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from mlrun.tracking.console import capture

if TYPE_CHECKING:
    import pytest

    Line = tuple[int, str, str]


def lines_of(batches: list[list[Line]]) -> list[str]:
    return [line for batch in batches for _, _, line in batch]


@given(st.lists(st.text("ab\n\u00e9", max_size=6), max_size=30))
def test_however_writes_are_cut_the_lines_are_those_of_the_text(writes: list[str]) -> None:
    got: list[list[Line]] = []
    with contextlib.redirect_stdout(io.StringIO()) as out:
        one = capture(got.append)
        for text in writes:
            sys.stdout.write(text)
        one.stop()
    expected = "".join(writes).split("\n")
    if not expected[-1]:
        expected.pop()
    assert lines_of(got) == expected
    assert out.getvalue() == "".join(writes)


def test_streams_that_are_not_there_or_cannot_be_wrapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fixed:
        __slots__ = ()

        def write(self, text: str) -> int:
            return len(text)

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", Fixed())
    heard: list[list[Line]] = []
    one = capture(heard.append)
    print("lost", file=sys.stderr)
    one.stop()
    assert lines_of(heard) == []
