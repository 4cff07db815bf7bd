"""What the thread of the ingest has in hand: uploads that wait, and what one commit brings."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlrun.contracts import Mark, Op
    from mlrun.errors import MlrunError
    from mlrun.journal.upload import Upload

    from .auth import Caller

__all__ = ["Batch", "Job"]


@dataclass
class Job:
    """An upload that waits for its answer."""

    caller: Caller
    upload: Upload
    size: int
    answer: Future[dict[str, Any]] = field(default_factory=Future)
    refused: dict[str, MlrunError] = field(default_factory=dict)


@dataclass
class Batch:
    """What one commit brings to the records store."""

    ops: list[Op] = field(default_factory=list)
    before: dict[str, Mark] = field(default_factory=dict)
    after: dict[str, Mark] = field(default_factory=dict)
    aside: list[tuple[Op, str]] = field(default_factory=list)
    fresh: dict[str, str] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def move(self, name: str, before: Mark, after: Mark) -> None:
        """Move a mark; the first call says from where."""
        self.before.setdefault(name, before)
        self.after[name] = after
