"""Rooms of the gateway with routes and a life of their own: ingest, objects, Flight."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fastapi import APIRouter

    from .gateway import Gateway

__all__ = ["PARTS", "Part", "load_parts"]

# module:class, in the order in which they are started; they are drained the other way round
PARTS: tuple[str, ...] = (
    "mlrun.app.ingest_part:IngestPart",
    "mlrun.app.objects_part:ObjectsPart",
    "mlrun.app.flight_part:FlightPart",
)


class Part(Protocol):
    """What the gateway asks of a room. It is made before the event loop runs.

    Attributes:
        router: its routes, with their whole paths; None if it has none. They depend on `app.auth.caller_of`.
    """

    router: APIRouter | None

    def __init__(self, gateway: Gateway) -> None: ...

    async def start(self) -> None:
        """Begin; the store is open."""
        ...

    async def drain(self) -> None:
        """Take no more, and finish what was taken."""
        ...

    def close(self) -> None:
        """Release what is held; called in a thread, after `drain`."""
        ...

    def ready(self) -> str:
        """Return why it cannot serve just now, or an empty text; called in a thread."""
        ...


def load_parts(gateway: Gateway) -> list[Part]:
    """Make all parts."""
    found: list[Part] = []
    for target in PARTS:
        module, _, name = target.partition(":")
        found.append(getattr(import_module(module), name)(gateway))
    return found
