"""Bring the schema of every part of a store to the version that this mlrun writes; only forward.

A part that makes its own backup (SQLite copies its file) is migrated when it is opened, too. One that others may be
using (PostgreSQL, ClickHouse) waits for `migrate`, and `migrate` waits for a backup: it names the command that makes
one. Delta tables and objects have no schema of their own: a Delta table tells its columns, objects are bytes.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlrun.contracts import CanMigrate
from mlrun.credentials import without_secrets
from mlrun.errors import StoreVersionError
from mlrun.registry import storage_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.store import Store

__all__ = ["PartVersion", "migrate", "part_versions"]

_PARTS = ("records", "series", "objects")


@dataclass(frozen=True)
class PartVersion:
    """What version a part of a store has.

    Attributes:
        part: `records`, `series` or `objects`.
        url: where it is, without credentials.
        stored: version of what is stored, 0 if nothing is made yet.
        current: version that this mlrun writes.
        backup: shell command that backs it up; empty if it does that itself.
    """

    part: str
    url: str
    stored: int
    current: int
    backup: str

    @property
    def is_old(self) -> bool:
        """Whether it waits for a migration."""
        return 0 < self.stored < self.current


def part_versions(store: Store) -> list[PartVersion]:
    """Return the version of every part that has one; nothing is made or changed.

    Raises:
        StoreError: a part cannot be reached.
    """
    found = []
    for part in _PARTS:
        url = store.part_url(part)
        with closing(storage_class(url)(url)) as opened:
            if isinstance(opened, CanMigrate):
                stored, current = opened.versions()
                command = opened.backup_command()
                found.append(PartVersion(part, without_secrets(url), stored, current, command))
    return found


def migrate(
    store: Store, *, backed_up: bool = False, progress: Callable[[str], None] = lambda _: None
) -> list[PartVersion]:
    """Migrate every part that is older than this mlrun; all are looked at before the first is changed.

    Args:
        store: the store; nobody else needs to have left it, but older programs can no longer use what is migrated.
        backed_up: whoever calls has a backup of the parts that do not make one themselves.
        progress: told what is being done.

    Returns:
        The parts that were migrated, as they were before.

    Raises:
        StoreVersionError: a part was made by a newer mlrun, or needs a backup first; nothing is changed.
        StoreError: a part cannot be reached, or its migration failed; each part is migrated whole or not at all.
    """
    parts = part_versions(store)
    for each in parts:
        if each.stored > each.current:
            raise StoreVersionError(
                f"{each.url} has version {each.stored}, this mlrun reads up to {each.current}: "
                "pip install -U mlrun-arrow"
            )
    old = [each for each in parts if each.is_old]
    needed = [each.backup for each in old if each.backup]
    if needed and not backed_up:
        first = "; ".join(needed)
        raise StoreVersionError(f"first make a backup (`{first}`), then say that there is one")
    for each in old:
        progress(f"migrating {each.part} from version {each.stored} to {each.current}")
        url = store.part_url(each.part)
        with closing(storage_class(url)(url)) as opened:
            opened.migrate()
    return old
