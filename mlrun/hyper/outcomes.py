"""The last values of children's metrics, for those who judge by them; read only when results do not do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.tables import SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Set as AbstractSet

    from mlrun.store import Store

__all__ = ["with_metrics"]


def with_metrics(
    store: Store | None, outcomes: Iterable[dict[str, Any]], names: AbstractSet[str]
) -> list[dict[str, Any]]:
    """Return the outcomes, each with `metrics` (last values) where its results lack one of `names`."""
    found = list(outcomes)
    lacking = [o["run_id"] for o in found if not names <= set(o.get("results") or {})]
    if store is None or not names or not lacking:
        return found
    metrics = _last_values(store, lacking)
    for outcome in found:
        if outcome["run_id"] in metrics:
            outcome["metrics"] = metrics[outcome["run_id"]]
    return found


def _last_values(store: Store, run_ids: Collection[str]) -> dict[str, dict[str, float]]:
    from mlrun.lookup.sight import snapshot
    from mlrun.lookup.widen import aggregate

    with snapshot(store) as sight:
        rows = sight.rows(SUMMARIES, list(run_ids))
    found: dict[str, dict[str, float]] = {}
    frame = rows.select("run_id", "key", aggregate("last").alias("last"))
    for run_id, key, last in frame.iter_rows():
        found.setdefault(run_id, {})[key] = last
    return found
