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

from mlrun.errors import StoreError, StoreUnreachable
from mlrun.journal.host import machine_id
from mlrun.registry import storage_class
from mlrun.statefolder import state_folder
from mlrun.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.contracts import Objects, Records, Series

__all__ = ["GatewayStore", "spool_of"]

_BEFORE_ASKING = 2.0  # seconds that a question waits for what this process has just written


def spool_of(url: str) -> Path:
    """Return the folder in which this user's writes to a gateway wait; `MLRUN_SPOOL` names another."""
    if given := os.environ.get("MLRUN_SPOOL"):
        return Path(given).expanduser().absolute()
    # a home that is copied, or shared by machines, must not make two writers of one name
    place = hashlib.sha256(f"{url} {machine_id()}".encode()).hexdigest()[:16]
    return state_folder() / "spool" / place


class GatewayStore(Store):
    """A store whose records, series and objects are behind a gateway.

    Args:
        url: `http(s)://host:port`.
        key: whose key to show; default the settings', what `mlrun login` kept, or a local gateway's token.

    Attributes:
        folder: the spool.
        url: the gateway's.
    """

    remote_records = True
    spools = True

    def __init__(self, url: str, key: str = "") -> None:
        self.gateway = storage_class(url)(url, key)
        super().__init__(spool_of(self.gateway.url))
        self.url = self.gateway.url

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as URL: the other side has a spool and a key of its own."""
        from mlrun.store import open_store

        return open_store, (self.url,)

    def ask(self, noun: str, /, **arguments: Any) -> Any:
        """Ask the gateway, see `mlrun.contracts.CanAnswer`."""
        self._need_network()
        self.flush_records()
        return self.gateway.ask(noun, **arguments)

    @cached_property
    def records(self) -> Records:
        """Rows by key, and changes: those of the gateway."""
        self._need_network()
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
        self.prepare()
        found: Objects = self.gateway.objects(self.folder, offline=self.offline)
        return found

    def _need_network(self) -> None:
        if self.offline:
            raise StoreUnreachable(f"{self.url} is not asked: MLRUN_MODE is offline")

    def exists(self) -> bool:
        """Whether there is a store to ask: the gateway says so when it is asked."""
        return True

    def flush_records(self) -> None:
        """Wait, two seconds at most, until the gateway has what this process has written."""
        if not self.offline:
            self.deliver(_BEFORE_ASKING)

    def deliver(self, timeout: float, *, progress: Callable[[float], None] | None = None) -> bool:
        """Wait until what this process has written has arrived; starts an uploader if none runs.

        Returns:
            False if it took longer than `timeout` seconds.
        """
        from mlrun.journal.spool import begin_uploader, wait_arrived
        from mlrun.journal.writer import written_to

        slots = written_to(self.journal)
        if not slots:
            return True
        begin_uploader(self.url, self.folder)
        return wait_arrived(self.folder, slots, timeout, progress=progress)

    def trouble(self) -> str:
        """Return what keeps the uploader from sending, in brackets; empty if nothing is known."""
        from mlrun.journal.spool import read_status

        status = read_status(self.folder)
        why = status.get("error") or next(iter((status.get("refused") or {}).values()), "")
        return f" ({why})" if why else ""

    def left_out(self, run_id: str) -> int:
        """Return how many points of a run the gateway has said that it left out: they had too many metric keys."""
        from mlrun.journal.spool import read_status

        return int((read_status(self.folder).get("dropped") or {}).get(run_id, 0))

    def absorb_records_now(self) -> bool:
        """See to it that an uploader runs: absorbing is the gateway's."""
        self.maybe_absorb()
        return True

    def maybe_absorb(self) -> None:
        """See to it that an uploader runs."""
        if not self.offline:
            from mlrun.journal.spool import begin_uploader

            self.prepare()
            begin_uploader(self.url, self.folder)

    def close(self) -> None:
        """Close connections; idempotent."""
        with self._lock:
            self.__dict__.pop("records", None)
            objects = self.__dict__.pop("objects", None)
            if objects is not None:
                objects.close()
            self.gateway.close()
