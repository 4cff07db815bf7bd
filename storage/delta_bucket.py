"""The folder of a Delta table in a bucket: written by one request, or in parts, read by ranges.

Small files are read whole, by one request, and the last ones read stay in memory: files never change. A scan under way
holds the small ones that way, so that freeing them does it no harm; a large one that is freed ends it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError, StoreError

from .delta_folder import LOG
from .objectplace import refuse_fork
from .objectread import RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .objectplace import ObjectPlace

__all__ = ["BucketFolder"]

_WHOLE = 1 << 20  # a file up to this is read by one request
_HELD = 64 << 20  # bytes of such files in memory
_PART = 8 << 20
_TOGETHER = 8

_held: OrderedDict[str, bytes] = OrderedDict()
_held_lock = threading.Lock()
_held_bytes = 0


class BucketFolder:
    """A folder below a place in a bucket."""

    def __init__(self, place: ObjectPlace, name: str) -> None:
        self._place = place
        self._name = name
        folder = "/".join(filter(None, (place.folder, name)))
        self.uri = f"{place.scheme}://{place.bucket}/{folder}"
        self.options: dict[str, str] | None = place.delta_options()

    @cached_property
    def _store(self) -> Any:
        return self._place.open(self._name)

    def make(self) -> None:
        """Do nothing: a bucket has no folders."""

    def has_table(self) -> bool:
        """Whether there is a log."""
        return any(name.endswith(".json") for name, _ in self.names(LOG))

    def names(self, below: str = "") -> list[tuple[str, float]]:
        """List the files in the folder, or in one below it, with the time they were written."""
        import obstore

        with self._told():
            found = obstore.list_with_delimiter(self._store, below or None)["objects"]
        return [(f["path"].rsplit("/", 1)[-1], f["last_modified"].timestamp()) for f in found]

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        import obstore

        with self._told():
            return int(obstore.head(self._store, name)["size"])

    def read(self, names: Iterable[str]) -> list[bytes]:
        """Return the bytes of small files, some of them asked for at the same time."""
        with ThreadPoolExecutor(_TOGETHER) as threads:
            return list(threads.map(self._get, names))

    def parquet(self, name: str, size: int) -> Any:
        """Return a reader of the bytes, or of their ranges."""
        import pyarrow as pa

        if size > _WHOLE:
            return RemoteFile(self._store, name, size, lambda _: self._told())
        where = self.location(name)
        if (data := _remembered(where)) is None:
            data = self._get(name)
            _remember(where, data)
        return pa.BufferReader(data)

    def location(self, name: str) -> str:
        """Return the URL of a file."""
        return f"{self.uri}/{name}"

    def draft(self, name: str) -> Path:
        """Return a path in the folder for temporary files."""
        fd, path = tempfile.mkstemp(prefix="mlrun-", suffix=".parquet")
        os.close(fd)
        return Path(path)

    def publish(self, name: str, draft: Path) -> int:
        """Upload a written file and remove it here; returns its size."""
        import obstore

        try:
            size = draft.stat().st_size
            with self._told():
                obstore.put(
                    self._store,
                    name,
                    draft,
                    use_multipart=size > _PART,
                    chunk_size=_PART,
                    max_concurrency=4,
                )
        finally:
            self.discard(draft)
        return size

    def discard(self, draft: Path) -> None:
        """Remove what was written here."""
        draft.unlink(missing_ok=True)

    def remove(self, name: str) -> bool:
        """Remove a file; False if it is not there."""
        import obstore

        try:
            self.size(name)
        except FileNotFoundError:
            return False
        with self._told():
            obstore.delete(self._store, name)
        return True

    def set_aside(self, name: str) -> None:
        """Give a file a name that is no part of a table."""
        import obstore

        folder, _, last = name.rpartition("/")
        with self._told(), contextlib.suppress(FileNotFoundError):
            obstore.copy(self._store, name, "/".join(filter(None, (folder, f"_damaged_{last}"))))
            obstore.delete(self._store, name)

    def sync(self, below: str = "", name: str = "") -> None:
        """Do nothing: what a bucket has answered for is durable."""

    def explain(self, error: Exception) -> str:
        """Return what an error says; raises StoreError if the bucket does not answer."""
        self.names(LOG)
        return self._place.clean(error)

    def _get(self, name: str) -> bytes:
        import obstore

        with self._told():
            return bytes(obstore.get(self._store, name).bytes())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what obstore raises into an error of ours, without credentials."""
        from obstore.exceptions import BaseError

        refuse_fork()
        try:
            yield
        except MlrunError:
            raise
        except (BaseError, OSError) as error:
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                raise
            why = self._place.clean(error)
            raise StoreError(f"{self._place.name} cannot be used: {why}") from None


def _remembered(where: str) -> bytes | None:
    with _held_lock:
        if where in _held:
            _held.move_to_end(where)
        return _held.get(where)


def _remember(where: str, data: bytes) -> None:
    global _held_bytes  # of all tables together
    with _held_lock:
        if where not in _held:
            _held_bytes += len(data)
        _held[where] = data
        while _held_bytes > _HELD:
            _held_bytes -= len(_held.popitem(last=False)[1])
