"""The questions of `Project`; every answer is a Polars frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from mlrun.store import Store

__all__ = ["ProjectLists"]


class ProjectLists:
    """What there is in a project."""

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """Its name."""

        @property
        def store(self) -> Store:
            """Where it is kept."""

    def list_runs(
        self,
        name: str | None = None,
        where: str | None = None,
        states: str | Sequence[str] | None = None,
        labels: Mapping[str, str] | Sequence[str] | None = None,
        **options: Any,
    ) -> pl.DataFrame:
        """Return runs, newest first; see `mlrun.runs`.

        Args:
            name: of the runs, exactly.
            where: an expression, as in `mlrun.runs`.
            states: one of these.
            labels: `{"team": "cv"}`, or `["team=cv"]`.
            **options: `order_by`, `limit`, `offset`, `columns`, `children`.
        """
        from mlrun.query import runs

        terms = [f"({where})"] if where else []
        if name is not None:
            terms.append(f"name = {_text(name)}")
        if states:
            wanted = [states] if isinstance(states, str) else list(states)
            terms.append("(" + " or ".join(f"state = {_text(s)}" for s in wanted) + ")")
        for key, value in _pairs(labels):
            terms.append(f"labels.{_name(key)} = {_text(value)}")
        return runs(self.store, self.name, where=" and ".join(terms) or None, **options)

    def list_functions(self, name: str | None = None, tag: str | None = None) -> pl.DataFrame:
        """Return stored versions of functions, newest first of each name.

        Columns: `project, name, hash, tags, kind, handler, image, description, created_at`.
        """
        from mlrun.functions.store import list_versions

        return list_versions(self.store, self.name, name, tag)

    def list_artifacts(
        self, name: str | None = None, tag: str | None = None, kind: str | None = None
    ) -> pl.DataFrame:
        """Return artifacts, oldest first; see `mlrun.artifacts`.

        Args:
            name: their key, exactly.
            tag: an alias that points at them, `latest` too.
            kind: their type.
        """
        import polars as pl

        from mlrun.query import artifacts

        found = artifacts(self.store).filter(pl.col("project") == self.name)
        if name is not None:
            found = found.filter(pl.col("key") == name)
        if kind is not None:
            found = found.filter(pl.col("type") == kind)
        if tag is not None:
            found = found.filter(pl.col("aliases").list.contains(tag))
        return found

    def list_models(self, name: str | None = None, tag: str | None = None) -> pl.DataFrame:
        """Return artifacts that are models."""
        return self.list_artifacts(name, tag, "model")


def _pairs(labels: Mapping[str, str] | Sequence[str] | None) -> list[tuple[str, str]]:
    if not labels:
        return []
    if hasattr(labels, "items"):
        return [(str(k), str(v)) for k, v in labels.items()]
    words = [labels] if isinstance(labels, str) else list(labels)
    return [(k, v) for k, _, v in (w.partition("=") for w in words)]


def _text(value: str) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _name(key: str) -> str:
    return '"' + key.replace('"', '""') + '"'
