"""A store of which only some projects are seen: what a gateway shows a caller who may not see all.

The bound is kept where every question about runs begins, in the sight, so that no question can forget it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.lookup.sight import Snapshot
from mlrun.tables import PROJECTS, RUNS
from mlrun.where.ast import InList, Literal_, Logic, Name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.contracts import RunQuery
    from mlrun.store import Store
    from mlrun.tables import Table

__all__ = ["ProjectsOnly", "RestrictedSight"]


class ProjectsOnly:
    """Stands for a store in the questions of somebody who may see only these projects.

    Args:
        store: the store.
        projects: names; none means that nothing is seen, None that everything is.
        url: what errors call the store; its own by default.
    """

    def __init__(self, store: Store, projects: frozenset[str] | None, url: str = "") -> None:
        self._store = store
        self.only_projects = projects
        self.url = url or store.url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass
class RestrictedSight(Snapshot):
    """One consistent sight of some projects."""

    projects: frozenset[str]

    @cached_property
    def _every(self) -> frozenset[str]:
        """The ids of all runs that are seen."""
        where = {"project": sorted(self.projects)}
        stored = self.view.scan(RUNS, columns=["run_id"], where=where).column("run_id").to_pylist()
        pending = self.overlay.frame(RUNS)
        fresh = pending.filter(pl.col("project").is_in(where["project"]))["run_id"]
        return frozenset(stored) - self.overlay.run_ids | frozenset(fresh)

    def _seen(self, run_ids: Sequence[str] | None) -> frozenset[str]:
        if run_ids is None:
            return self._every
        rows = super().rows(RUNS, list(run_ids), ["run_id", "project"])
        return frozenset(run_id for run_id, project in rows.iter_rows() if project in self.projects)

    def rows(
        self,
        table: Table,
        run_ids: Sequence[str] | None,
        columns: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return rows as `Snapshot.rows` does, those of runs of these projects."""
        seen = self._seen(run_ids)
        asked = sorted(seen) if run_ids is None else [r for r in run_ids if r in seen]
        return super().rows(table, asked, columns, keys)

    def knows(self, run_id: str) -> bool:
        """Whether a run of exactly this id is seen."""
        return run_id in self._seen([run_id])

    def shared(self, table: Table) -> pl.DataFrame:
        """Return rows as `Snapshot.shared` does, those of these projects."""
        column = "name" if table is PROJECTS else "project"
        return super().shared(table).filter(pl.col(column).is_in(sorted(self.projects)))

    def find(self, query: RunQuery) -> list[str]:
        """Return ids as `Snapshot.find` does, those of these projects."""
        if (query.project is not None and query.project not in self.projects) or not self.projects:
            return []
        if query.project is not None:
            return super().find(query)
        names = tuple(Literal_(name, "text") for name in sorted(self.projects))
        mine = InList(Name("run", "project"), names)
        where = mine if query.where is None else Logic("and", (mine, query.where))
        return super().find(replace(query, where=where))
