"""How the command line starts a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .options import Options
from .server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.store import Store

__all__ = ["start"]


def start(
    store: Store,
    *,
    no_flight: bool = False,
    flight_port: int | None = None,
    allow_host: tuple[str, ...] = (),
    allow_origin: tuple[str, ...] = (),
    log_level: str = "info",
    listening: Callable[[dict[str, Any]], None] = lambda told: None,
    **given: Any,
) -> None:
    """Serve a store with what the command line says."""
    if given.get("answer_processes") is None:
        given["answer_processes"] = _processes(store)
    given = {name: value for name, value in given.items() if value is not None}
    options = Options(
        flight_port=None if no_flight else flight_port,
        hosts=allow_host,
        origins=allow_origin,
        **given,
    )
    serve(store, options, log_level=log_level, listening=listening)


def _processes(store: Store) -> int:
    """Return how many processes answer: a few, or none where only one process can have the series open."""
    from os import cpu_count

    return 0 if "chdb" in str(store._urls["series"]).partition(":")[0] else min(4, cpu_count() or 1)
