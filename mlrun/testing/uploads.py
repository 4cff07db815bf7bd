"""Uploads without a network: a spool whose uploader hands its uploads to an ingest in the same process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from mlrun.errors import StoreUnreachable
from mlrun.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Line", "LineReply", "Spool"]


class LineReply(NamedTuple):
    """What was answered; an error is raised."""

    body: bytes


class Line:
    """Stands where the connection to a gateway does.

    Args:
        take: takes an upload, returns the answer.

    Attributes:
        cut: nothing gets through; `deaf`: uploads arrive, and their answers get lost.
        twice: every upload arrives twice.
        sent: how many uploads were sent.
    """

    def __init__(self, take: Callable[[bytes], dict[str, Any]]) -> None:
        self.take = take
        self.cut = self.deaf = self.twice = False
        self.sent = 0

    def send(self, method: str, path: str, body: bytes, *rest: Any, **options: Any) -> LineReply:
        """Send an upload."""
        if self.cut:
            raise StoreUnreachable("the line is cut")
        self.sent += 1
        if self.twice:
            self.take(body)
        answer = self.take(body)
        if self.deaf:
            raise StoreUnreachable("the answer is lost")
        return LineReply(json.dumps(answer).encode())


class Spool(Store):
    """A spool at the end of a line, in the place of a gateway's store.

    Attributes:
        http: the line; the gateway is this itself.
    """

    spools = True

    def __init__(self, folder: Path, take: Callable[[bytes], dict[str, Any]]) -> None:
        super().__init__(folder)
        self.http = Line(take)
        self.gateway = self
