"""The uploader's other hand: bytes of artifacts, beside everything else, so that a large one holds up no point."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.journal.spool import objects_waiting

if TYPE_CHECKING:
    from mlrun.gatewaystore import GatewayStore

__all__ = ["ObjectSender"]

_BACKOFF = (0.2, 30.0)  # seconds between two tries: the first, and the longest


class ObjectSender:
    """Sends the bytes of artifacts beside everything else, one object at a time.

    Attributes:
        busy: something waits or is under way.
        error: what the last try met; empty if nothing. `failures`: tries in a row that met something.
    """

    def __init__(self, store: GatewayStore) -> None:
        self._store = store
        self._bell = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None
        self._looked = -1e9
        self._missing: list[bytes] = []
        self.busy = False
        self.error = ""
        self.failures = 0

    def missing(self) -> list[bytes]:
        """Return the hashes of objects that have not arrived."""
        return [sha.encode("ascii") for sha, _ in objects_waiting(self._store.folder)]

    def wake(self) -> None:
        """Look whether there is something to send."""
        if not self.busy and objects_waiting(self._store.folder):
            self.busy = True
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name="mlrun-objects", daemon=True
                )
                self._thread.start()
            self._bell.set()

    def close(self) -> None:
        """End after the object that is under way."""
        self._stop = True
        self._bell.set()

    def _deliver(self, sha256: str) -> None:
        objects: Any = self._store.objects  # a gateway's, which can
        objects.deliver(sha256)

    def _work(self) -> None:
        pause = _BACKOFF[0]
        while not self._stop:
            self._bell.wait()
            self._bell.clear()
            for sha, _ in objects_waiting(self._store.folder):
                try:
                    self._deliver(sha)
                except (MlrunError, OSError) as error:
                    self.error = str(error)
                    self.failures += 1
                    time.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(_BACKOFF[1], 2 * pause)
                else:
                    self.error, self.failures, pause = "", 0, _BACKOFF[0]
            self.busy = False
