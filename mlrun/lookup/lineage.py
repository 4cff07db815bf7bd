"""Lineage: the artifacts that a run made and used, and the runs that made and used an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlrun.content.naming import artifact_uri
from mlrun.lookup.sight import snapshot
from mlrun.tables import ARTIFACTS, LINEAGE

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["lineage_of", "runs_of"]

_VERSION = ["project", "key", "version"]


def lineage_of(store: Store, run_id: str) -> pl.DataFrame:
    """Return what a run made and used; the columns are those of `RunView.lineage`."""
    with snapshot(store) as sight:
        links = sight.shared(LINEAGE).filter(pl.col("run_id") == run_id)
        kept = sight.shared(ARTIFACTS).filter(pl.col("deleted_at").is_null())
    found = links.join(kept, on=_VERSION).sort("time", "key", "step", "version")
    uris = [artifact_uri(*name) for name in found.select(_VERSION).iter_rows()]
    named = pl.Series("uri", uris, dtype=pl.String)
    return found.select("role", *_VERSION, "type", "size", "step", "time", named, "meta")


def runs_of(store: Store, project: str, key: str, version: int) -> pl.DataFrame:
    """Return the runs that made and used a version; the columns are those of `DataItem.lineage`."""
    place = zip(_VERSION, (project, key, version), strict=True)
    with snapshot(store) as sight:
        links = sight.shared(LINEAGE).filter(pl.col(name).eq(value) for name, value in place)
    return links.sort("time", "run_id", "step").select("role", "run_id", "step", "time")
