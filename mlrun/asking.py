"""Questions that a store may answer itself: over a gateway one question is one request, see `mlrun.wire`."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.contracts import CanAnswer
    from mlrun.store import Store

__all__ = ["answering", "asked", "visible_ids"]

F = TypeVar("F", bound="Callable[..., Any]")


def answering(store: Any) -> CanAnswer | None:
    """Return the store if it answers questions itself, as a gateway does; None if it is read here."""
    return cast("CanAnswer", store) if hasattr(type(store), "ask") else None


def asked(noun: str, **given: Callable[[Any], Any]) -> Callable[[F], F]:
    """Let a question, a function of a store and arguments, be answered by the store where that can.

    Args:
        noun: its name on the wire.
        given: what to make of an argument before it is sent.
    """

    def wrap(question: F) -> F:
        signature = inspect.signature(question)
        first = next(iter(signature.parameters))

        @wraps(question)
        def ask(store: Any, *args: Any, **options: Any) -> Any:
            remote = answering(store)
            if remote is None:
                return question(store, *args, **options)
            bound = signature.bind(store, *args, **options)
            told = {k: v for k, v in bound.arguments.items() if k != first}
            for name, make in given.items():
                if name in told:
                    told[name] = make(told[name])
            return remote.ask(noun, **told)

        return cast("F", ask)

    return wrap


def visible_ids(store: Store, run_ids: list[str]) -> list[str]:
    """Return those of the runs that a question to this store may be about: all, or those of its projects."""
    if getattr(store, "only_projects", None) is None or not run_ids:
        return run_ids
    from mlrun.lookup.sight import snapshot
    from mlrun.tables import RUNS

    with snapshot(store) as sight:
        seen = set(sight.rows(RUNS, run_ids, ["run_id"])["run_id"])
    return [run_id for run_id in run_ids if run_id in seen]
