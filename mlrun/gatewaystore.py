"""A whole store over the network: `open_store("http://…")`.

What a process writes goes into a journal of its own on this host, the spool, exactly as for an embedded store; an
uploader beside it sends that to the gateway. Questions go to the gateway whole (`mlrun.asking`), and so do changes.
"""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, StoreError
from mlrun.registry import storage_class
from mlrun.statefolder import state_folder
from mlrun.store import Store

if TYPE_CHECKING:
    from mlrun.contracts import Objects, Records, Series
    from mlrun.journal.writer import Writer

__all__ = ["GatewayStore", "spool_of"]


def spool_of(url: str) -> Path:
    """Return the folder in which this user's writes to a gateway wait; `MLRUN_SPOOL` names another."""
    if given := os.environ.get("MLRUN_SPOOL"):
        return Path(given).expanduser().absolute()
    return state_folder() / "spool" / hashlib.sha256(url.encode()).hexdigest()[:16]


class GatewayStore(Store):
    """A store whose records, series and objects are behind a gateway.

    Attributes:
        folder: the spool.
        url: the gateway's.
    """

    remote_records = True

    def __init__(self, url: str) -> None:
        self.gateway = storage_class(url)(url)
        super().__init__(spool_of(self.gateway.url))
        self.url = self.gateway.url

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as URL: the other side has a spool and a key of its own."""
        from mlrun.store import open_store

        return open_store, (self.url,)

    def ask(self, noun: str, /, **arguments: Any) -> Any:
        """Ask the gateway, see `mlrun.contracts.CanAnswer`."""
        return self.gateway.ask(noun, **arguments)

    @cached_property
    def records(self) -> Records:
        """Rows by key, and changes: those of the gateway."""
        found: Records = self.gateway
        return found

    @cached_property
    def series(self) -> Series:
        """The series are the gateway's, which is asked for answers and not for files."""
        raise StoreError(
            "this needs the store itself, and not a gateway: do it where the gateway runs"
        )

    @cached_property
    def objects(self) -> Objects:
        """The bytes of artifacts."""
        raise ConfigError("artifacts cannot be had over a gateway yet")

    def exists(self) -> bool:
        """Whether there is a store to ask: the gateway says so when it is asked."""
        return True

    def writer(self) -> Writer:
        """Return this process's writer in the spool."""
        raise ConfigError("a gateway can be asked, not written to")

    def flush_records(self) -> None:
        """Wait until the gateway has what this process has written."""

    def absorb_records_now(self) -> bool:
        """Leave the absorbing to the gateway."""
        return False

    def maybe_absorb(self) -> None:
        """Leave the absorbing to the gateway."""

    def close(self) -> None:
        """Close connections; idempotent."""
        with self._lock:
            self.__dict__.pop("records", None)
            self.gateway.close()
