from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlrun.app.auth import Caller
from mlrun.app.ingest import Ingest
from mlrun.journal.uploader import Uploader
from mlrun.store import Store
from mlrun.testing.uploads import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlrun.journal.writer import Writer

ADMIN = Caller("test", server="admin")


class House:
    """A gateway's store with its ingest, and spools that upload to it."""

    def __init__(self, folder: Path, **urls: str) -> None:
        self.folder = folder
        self.store = Store(folder / "store", **urls)
        self.store.prepare()
        self.caller = ADMIN
        self.options: dict[str, Any] = {"reserve": 0}
        self.ingest: Ingest | None = None
        self.begin()

    def begin(self) -> None:
        self.ingest = Ingest(self.store, **self.options)

    def kill(self) -> None:
        """Stop as a killed process does: nothing is written, locks are the kernel's to let go."""
        assert self.ingest is not None
        ingest, self.ingest = self.ingest, None
        ingest.close()

    def take(self, body: bytes) -> dict[str, Any]:
        assert self.ingest is not None
        answer: dict[str, Any] = self.ingest.offer(self.caller, body).result(30)
        return answer

    def spool(self, name: str = "spool") -> tuple[Spool, Uploader]:
        spool = Spool(self.folder / name, self.take)
        spool.prepare()
        return spool, Uploader(spool)  # type: ignore[arg-type]  # it has what an uploader needs

    def close(self) -> None:
        if self.ingest is not None:
            self.ingest.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.close()


def run_ops(run_id: str, writer: Writer, project: str = "p", state: str = "running") -> list[Any]:
    row = {
        "run_id": run_id,
        "project": project,
        "state": state,
        "writer": f"{writer.name}#{writer.claim}",
        "updated_at": 1,
    }
    return [("put", "projects", {"name": project}), ("put", "runs", row)]


def send_all(uploader: Uploader) -> None:
    """Step as the uploader's process does, until nothing waits."""
    for _ in range(500):
        uploader._probed = -1e9
        if not uploader.step() and not uploader.left():
            return
    raise AssertionError("what waits is not taken")
