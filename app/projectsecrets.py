"""Secrets of projects, as they are stored: encrypted, each bound to its project and name.

Nothing here needs a web server: the command line and embedded stores use it beside their records.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, NotFound, RowConflict, did_you_mean
from mlrun.ids import now_us
from mlrun.tables import PROJECT_SECRETS

from .secretkeys import SecretKeys, new_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrun.contracts import Op, Records

__all__ = ["ProjectSecrets"]

_NAME = re.compile(r"[\w.-]{1,200}", re.ASCII)
_MOST_BYTES = 64 << 10
_SHOWN = tuple(c for c in PROJECT_SECRETS.names if c != "ciphertext")


class ProjectSecrets:
    """The secrets of a store's projects.

    Args:
        records: where they are.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    @staticmethod
    def new_key() -> str:
        """Return a key as `MLRUN_SECRETS_KEY` takes it."""
        return new_key()

    def names(self, project: str) -> list[dict[str, Any]]:
        """Return which secrets a project has, by name: who set each and when, and never what it is."""
        rows = self._records.lookup(PROJECT_SECRETS, {"project": project})
        return [{c: row[c] for c in _SHOWN} for row in rows]

    def set(
        self, project: str, values: Mapping[str, str], *, user: str, also: Iterable[Op] = ()
    ) -> None:
        """Encrypt and store secrets of a project; those of other names stay.

        Args:
            project: whose.
            values: by name; a name is letters, digits, `_`, `.` and `-`.
            user: who sets them.
            also: ops for the same transaction.

        Raises:
            ConfigError: a name or a value that cannot be; the value is not shown.
            StoreError: there are secrets, and the key by which they are encrypted is not here.
        """
        for name, value in values.items():
            _check(name, value)
        if not values:
            return
        keys = self._keys(make=True)
        rows = [
            {
                "project": project,
                "name": name,
                "ciphertext": keys.seal(value, _about(project, name)),
                "key_id": keys.newest,
                "user": user,
                "updated_at": now_us(),
            }
            for name, value in values.items()
        ]
        self._records.apply([*(("put", PROJECT_SECRETS.name, row) for row in rows), *also])

    def read(self, project: str, names: Sequence[str], also: Iterable[Op] = ()) -> dict[str, str]:
        """Return secrets in clear, by name; `also` is applied before they are handed out.

        Raises:
            NotFound: the project has none of a name.
            StoreError: the key is not here, or what is stored is damaged.
        """
        rows = {
            row["name"]: row for row in self._records.lookup(PROJECT_SECRETS, {"project": project})
        }
        if lacking := [name for name in names if name not in rows]:
            raise NotFound(
                f"project {project!r} has no secret {lacking[0]!r:.200}{did_you_mean(lacking[0], rows)}"
            )
        keys = self._keys()
        found = {name: _opened(keys, rows[name]) for name in names}
        if noted := list(also):
            self._records.apply(noted)
        return found

    def delete(self, project: str, name: str, also: Iterable[Op] = ()) -> None:
        """Forget a secret; NotFound if there is none of that name."""
        place = {"project": project, "name": name}
        if not self._records.lookup(PROJECT_SECRETS, place):
            raise NotFound(f"project {project!r} has no secret {name!r:.200}")
        self._records.apply([("del", PROJECT_SECRETS.name, place), *also])

    def rotate(self) -> int:
        """Encrypt by the newest key what was encrypted by others; returns how many secrets that were."""
        keys, count = self._keys(), 0
        for row in self._records.lookup(PROJECT_SECRETS, {}):
            if row["key_id"] == keys.newest:
                continue
            place = {"project": row["project"], "name": row["name"]}
            sealed = keys.seal(_opened(keys, row), _about(row["project"], row["name"]))
            new = {**row, "ciphertext": sealed, "key_id": keys.newest}
            try:
                seen: Op = (
                    "expect",
                    PROJECT_SECRETS.name,
                    {**place, "ciphertext": row["ciphertext"]},
                )
                self._records.apply([seen, ("put", PROJECT_SECRETS.name, new)])
            except RowConflict:
                continue  # it was set, or taken away, in between
            count += 1
        return count

    def _keys(self, *, make: bool = False) -> SecretKeys:
        """Return the keys; a first one is made only where nothing is encrypted by another host's."""
        return SecretKeys.here(make=make and not self._records.lookup(PROJECT_SECRETS, {}))


def _opened(keys: SecretKeys, row: Mapping[str, Any]) -> str:
    return keys.open(row["ciphertext"], row["key_id"], _about(row["project"], row["name"]))


def _about(project: str, name: str) -> bytes:
    return json.dumps([project, name]).encode()


def _check(name: str, value: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"the name of a secret is 1 to 200 letters, digits, `_`, `.` and `-`, not {name!r:.80}"
        )
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"the secret {name!r} is no text, or an empty one")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"the secret {name!r} is no text that can be stored") from None
    if size > _MOST_BYTES:
        raise ConfigError(f"the secret {name!r} is longer than {_MOST_BYTES >> 10} KiB")
