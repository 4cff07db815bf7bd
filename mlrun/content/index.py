"""Finding artifacts in the records store, pending ones included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.content.naming import LATEST, ArtifactName, readings
from mlrun.contracts import CanLookup
from mlrun.errors import NotFound, StoreError, did_you_mean
from mlrun.tables import ALIASES, ARTIFACTS

if TYPE_CHECKING:
    from mlrun.store import Store
    from mlrun.tables import Table

__all__ = ["ArtifactIndex"]

_HINTS = 10_000  # names that are compared for a suggestion


class ArtifactIndex:
    """The artifacts of a store as they are now.

    What waits in the journal is absorbed first. Where that cannot be done (a read-only store, a lock held too long),
    the pending records are laid over the stored ones instead. Rows are plain dicts, timestamps int microseconds.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        try:
            store.flush_records()
        except (StoreError, OSError):
            self._overlaid = True  # the stored rows and the journal answer together
        else:
            self._overlaid = not isinstance(store.records, CanLookup)

    def find(self, name: str, project: str) -> dict[str, Any]:
        """Return the ARTIFACTS row that a name means.

        Raises:
            NotFound: no reading of the name is there; suggests a key, an alias or a version.
        """
        tried = readings(name, project)
        for reading in tried:
            row = self.get(reading)
            if row is not None:
                return row
        raise NotFound(f"no artifact {name!r}{self._hint(tried)}")

    def get(self, name: ArtifactName) -> dict[str, Any] | None:
        """Return the row of exactly this name, or None."""
        place = {"project": name.project, "key": name.key}
        version = name.version
        if version is None and name.tag != LATEST:
            named = self._lookup(ALIASES, {**place, "alias": name.tag})
            if not named:
                return None
            version = int(named[0]["version"])
        if version is None:
            found = self.versions(name.project, name.key)
        else:
            found = _kept(self._lookup(ARTIFACTS, {**place, "version": version}))
        return found[-1] if found else None

    def versions(self, project: str, key: str) -> list[dict[str, Any]]:
        """Return the rows of all versions that were not deleted, oldest first."""
        found = _kept(self._lookup(ARTIFACTS, {"project": project, "key": key}))
        return sorted(found, key=lambda row: int(row["version"]))

    def version_of(self, project: str, key: str, sha256: str, type: str) -> int | None:
        """Return the version that this content has under this key; None if it has none."""
        same = {"project": project, "key": key, "sha256": sha256, "type": type}
        return max((int(r["version"]) for r in self._lookup(ARTIFACTS, same)), default=None)

    def aliases_of(self, project: str, key: str, version: int) -> list[str]:
        """Return the aliases of a version, `latest` among them if it is the newest."""
        place = {"project": project, "key": key}
        out = [row["alias"] for row in self._lookup(ALIASES, {**place, "version": version})]
        rows = self.versions(project, key)
        if rows and int(rows[-1]["version"]) == version:
            out.append(LATEST)
        return sorted(out)

    def _hint(self, tried: list[ArtifactName]) -> str:
        for name in tried:
            rows = self.versions(name.project, name.key)
            if rows and name.version is not None:
                return f": the newest version is v{rows[-1]['version']}"
            if rows:
                place = {"project": name.project, "key": name.key}
                named = [row["alias"] for row in self._lookup(ALIASES, place)]
                return f": it has no alias {name.tag!r}{did_you_mean(name.tag, named)}"
        for name in tried:
            found = _kept(self._lookup(ARTIFACTS, {"project": name.project}))
            keys = dict.fromkeys(row["key"] for row in found)
            hint = did_you_mean(name.key, list(keys)[:_HINTS])
            if hint:
                return f" in project {name.project!r}{hint}"
        return f" in project {tried[0].project!r}"

    def _lookup(self, table: Table, key: dict[str, Any]) -> list[dict[str, Any]]:
        records = self._store.records
        if not self._overlaid and isinstance(records, CanLookup):
            return records.lookup(table, key)
        import polars as pl

        from mlrun.lookup.sight import snapshot

        with snapshot(self._store) as sight:
            frame = sight.shared(table)
        match = pl.all_horizontal(pl.col(name) == value for name, value in key.items())
        return frame.filter(match).with_columns(pl.col(pl.Datetime).dt.epoch("us")).to_dicts()


def _kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row.get("deleted_at") is None]
