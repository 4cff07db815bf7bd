"""Where the files of a Delta table lie: the few things asked of a folder, and the folder on a disk.

Names are relative to the table's folder: `<uuid>.parquet`, `_delta_log/<version>.json`. Files are written once under
names of their own and never changed; what makes them count is the commit that names them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["LOG", "LocalFolder", "TableFolder"]

LOG = "_delta_log"


class TableFolder(Protocol):
    """The law. Absent files raise FileNotFoundError, everything else OSError or StoreError; for many threads.

    Attributes:
        uri: what deltalake opens.
        options: what deltalake and Polars need besides, or None.
    """

    uri: str
    options: dict[str, str] | None

    def make(self) -> None:
        """Make the folder if it is not there."""
        ...

    def has_table(self) -> bool:
        """Whether there is a log."""
        ...

    def names(self, below: str = "") -> list[tuple[str, float]]:
        """List the files in the folder, or in one below it, with the time they were written (Unix seconds)."""
        ...

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        ...

    def read(self, names: Iterable[str]) -> list[bytes]:
        """Return the bytes of small files."""
        ...

    def parquet(self, name: str, size: int) -> Any:
        """Return what `pyarrow.parquet` opens; `size` in bytes as the log tells it."""
        ...

    def location(self, name: str) -> str:
        """Return the path or URL of a file, by which Polars reads it and caches tell it from others."""
        ...

    def draft(self, name: str) -> Path:
        """Return a local path at which a file of this name may be written."""
        ...

    def publish(self, name: str, draft: Path) -> int:
        """Bring a written draft into the folder, durably; returns its size."""
        ...

    def discard(self, draft: Path) -> None:
        """Forget a draft."""
        ...

    def remove(self, name: str) -> bool:
        """Remove a file; False if it is not there."""
        ...

    def set_aside(self, name: str) -> None:
        """Give a file a name that is no part of a table."""
        ...

    def sync(self, below: str = "", name: str = "") -> None:
        """Make the names in a folder durable, and the bytes of one file there."""
        ...

    def explain(self, error: Exception) -> str:
        """Return what an error says, without credentials; raises StoreError if the folder does not answer at all."""
        ...


class LocalFolder:
    """A folder on a disk of this machine."""

    options: dict[str, str] | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = str(path)

    def make(self) -> None:
        """Make the folder if it is not there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def has_table(self) -> bool:
        """Whether there is a log."""
        log = self.path / LOG
        return log.is_dir() and any(log.glob("*.json"))

    def names(self, below: str = "") -> list[tuple[str, float]]:
        """List the files in the folder, or in one below it, with the time they were written."""
        found = []
        for entry in os.scandir(self.path / below):
            try:
                if entry.is_file():
                    found.append((entry.name, entry.stat().st_mtime))
            except FileNotFoundError:
                continue  # somebody else frees at the same time
        return sorted(found)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return (self.path / name).stat().st_size

    def read(self, names: Iterable[str]) -> list[bytes]:
        """Return the bytes of small files."""
        return [(self.path / name).read_bytes() for name in names]

    def parquet(self, name: str, size: int) -> str:
        """Return the path."""
        return self.location(name)

    def location(self, name: str) -> str:
        """Return the path."""
        return str(self.path / name)

    def draft(self, name: str) -> Path:
        """Return the path itself: nothing counts before it is committed."""
        return self.path / name

    def publish(self, name: str, draft: Path) -> int:
        """Sync a written file; returns its size."""
        _sync(draft)
        return draft.stat().st_size

    def discard(self, draft: Path) -> None:
        """Remove what was written."""
        draft.unlink(missing_ok=True)

    def remove(self, name: str) -> bool:
        """Remove a file; False if it is not there."""
        try:
            (self.path / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def set_aside(self, name: str) -> None:
        """Give a file a name that is no part of a table."""
        path = self.path / name
        if path.exists():
            path.rename(path.with_name(f"_damaged_{path.name}"))

    def sync(self, below: str = "", name: str = "") -> None:
        """Make the names in a folder durable, and the bytes of one file there."""
        if name:
            try:
                _sync(self.path / below / name)
            except FileNotFoundError:
                return
        if os.name == "posix":
            _sync(self.path / below)

    def explain(self, error: Exception) -> str:
        """Return what an error says."""
        return str(error)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
