"""Summaries of pending points, folded once: readers that ask again pay only for rows that came since.

Published rows never change and file numbers are never reused, so what was folded of a segment stays true for as long as
the process lives.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from mlrun.contracts import Mark
from mlrun.journal.fold import fold, merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.journal.snapshot import JournalSnapshot

__all__ = ["fold_pending"]

_KEPT = 1_024  # segments; those that are absorbed fall out behind newer ones
_Rows = dict[tuple[str, str], tuple[Any, ...]]

_folded: OrderedDict[tuple[str, int, int], tuple[int, _Rows]] = OrderedDict()
_lock = threading.Lock()


def fold_pending(journal: JournalSnapshot, marks: Mapping[str, Mark]) -> list[tuple[Any, ...]]:
    """Aggregate the metrics past the marks into rows of SUMMARIES, one or more per (run, key)."""
    out: list[tuple[Any, ...]] = []
    for name, writer in journal.writers.items():
        mark = marks.get(name, Mark())
        for segment in writer.segments:
            first = mark.row if segment.number == mark.segment else 0
            if segment.number >= mark.segment and first < segment.rows:
                out += _fold_segment(journal, name, segment.number, first, segment.rows)
    return out


def _fold_segment(
    journal: JournalSnapshot, writer: str, number: int, first: int, rows: int
) -> list[tuple[Any, ...]]:
    key = (writer, number, first)
    with _lock:
        done, found = _folded.pop(key, (first, {}))
        if done > rows:  # another thread looked later than this journal was listed
            done, found = first, {}
        if done < rows:
            found = dict(found)
            after = {writer: Mark(segment=number, row=done)}
            for part in fold(journal, after=after, upto={writer: number}):
                name = part[:2]
                found[name] = merge(found[name], part) if name in found else part
        _folded[key] = (rows, found)
        if len(_folded) > _KEPT:
            _folded.popitem(last=False)
        return list(found.values())


def _renew_after_fork() -> None:
    global _lock  # the parent's lock may have been held at the fork
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
