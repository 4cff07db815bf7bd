"""The keys by which secrets of projects are encrypted: of `MLRUN_SECRETS_KEY`, or a file that only this user can read.

The first key encrypts, the others still decrypt; each is known by an id, a part of its hash, that is stored beside what
it has encrypted. A new key is put in front of the old one, `mlrun secrets rotate` encrypts everything anew, and then
the old one can go.
"""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from mlrun.errors import ConfigError, StoreError
from mlrun.statefolder import read_private, state_folder, write_private

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIABLE", "SecretKeys", "key_file", "new_key"]

VARIABLE = "MLRUN_SECRETS_KEY"
_BYTES = 32
_NONCE = 12


def key_file() -> Path:
    """Return where the keys of a gateway are that has none in its environment: one a line, the newest first."""
    return state_folder() / "secrets.key"


def new_key() -> str:
    """Return a key as `MLRUN_SECRETS_KEY` takes it: 256 random bits in base64."""
    return base64.urlsafe_b64encode(os.urandom(_BYTES)).decode()


class SecretKeys:
    """The keys that are here, by id; the first encrypts.

    Args:
        text: keys, separated by commas or lines.
    """

    def __init__(self, text: str) -> None:
        self._keys = {_id_of(key): key for key in map(_decoded, text.replace(",", " ").split())}
        if not self._keys:
            raise ConfigError(f"{VARIABLE} holds no key")

    def __repr__(self) -> str:
        """Show the ids of the keys, never the keys."""
        return f"SecretKeys({', '.join(self._keys)})"

    @classmethod
    def here(cls, *, make: bool = False) -> SecretKeys:
        """Return the keys of this process's environment, else those of the file, which is made if `make` says so.

        Raises:
            StoreError: there are none.
            ConfigError: one is no key; it is not shown.
        """
        if given := os.environ.get(VARIABLE, "").strip():
            return cls(given)
        path = key_file()
        if make and not path.exists():
            fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
            write_private(fresh, new_key() + "\n")
            with suppress(FileExistsError):  # somebody else was first: theirs it is
                os.link(fresh, path)
            fresh.unlink()
        found = read_private(path)
        if not found:
            why = "can be read by others, or is not ours" if path.exists() else "is not there"
            raise StoreError(
                f"the key of the secrets is not here: {VARIABLE} is not set, and {path} {why}"
            )
        return cls(found)

    @property
    def newest(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self._keys))

    def seal(self, text: str, about: bytes) -> str:
        """Return a text encrypted by the newest key; `about` is bound to it, and not stored in it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE)
        sealed = AESGCM(self._keys[self.newest]).encrypt(nonce, text.encode(), about)
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, key_id: str, about: bytes) -> str:
        """Undo `seal`.

        Raises:
            StoreError: the key is not here, or the text is not what was stored under `about`.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._keys.get(key_id)
        if key is None:
            raise StoreError(
                f"a secret was encrypted by the key {key_id!r:.40}, which is not here: {VARIABLE} may hold several"
            )
        try:
            raw = base64.b64decode(sealed, validate=True)
            return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], about).decode()
        except (InvalidTag, ValueError):
            raise StoreError("a stored secret is damaged, or was moved from elsewhere") from None


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"mlrun secrets key:" + key).hexdigest()[:8]


def _decoded(text: str) -> bytes:
    with suppress(ValueError):
        key = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        if len(key) == _BYTES:
            return key
    raise ConfigError(
        f"a key in {VARIABLE} is {_BYTES} bytes in base64, as `mlrun secrets new-key` prints one"
    )
