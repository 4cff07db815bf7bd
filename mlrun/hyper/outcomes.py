"""The last values of children's metrics, for those who judge by them; read only when results do not do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.hyper.table import last_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Set as AbstractSet

    from mlrun.store import Store

__all__ = ["with_metrics"]


def with_metrics(
    store: Store | None, outcomes: Iterable[dict[str, Any]], names: AbstractSet[str]
) -> list[dict[str, Any]]:
    """Return the outcomes, each with `metrics` (last values) where its results lack one of `names`."""
    found = list(outcomes)
    lacking = [o for o in found if o["state"] == "completed" and _lacks(o, names)]
    if store is None or not lacking:
        return found
    from mlrun.lookup.sight import snapshot

    with snapshot(store) as sight:
        metrics = last_values(sight, [o["run_id"] for o in lacking], names)
    for outcome in lacking:
        outcome["metrics"] = {**metrics.get(outcome["run_id"], {}), **outcome.get("metrics", {})}
    return found


def _lacks(outcome: dict[str, Any], names: AbstractSet[str]) -> bool:
    return not names <= set(outcome.get("results") or {}) | set(outcome.get("metrics") or {})
