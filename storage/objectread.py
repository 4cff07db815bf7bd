"""Reading objects of a bucket: whole into a file, going on where a broken connection stopped, or piece by piece."""

from __future__ import annotations

import hashlib
import io
import os
import time
from typing import TYPE_CHECKING, Any

from mlrun.errors import ObjectError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["RemoteFile", "fetch"]

_CHUNK = 4 << 20
_RESUMES = 5  # in a row without a byte


def fetch(store: Any, name: str, fd: int) -> str:
    """Write an object into an open file; returns the SHA-256 of what was written.

    Raises:
        FileNotFoundError: there is no such object.
        ObjectError: it ended too early.
    """
    import obstore
    from obstore.exceptions import BaseError

    digest, done, total, tries = hashlib.sha256(), 0, -1, 0
    while total < 0 or done < total:
        before = done
        try:
            found = obstore.get(store, name, options={"range": {"offset": done}} if done else None)
            total = found.meta["size"]
            for chunk in found.stream(_CHUNK):
                view = memoryview(chunk)
                digest.update(view)
                done += len(view)
                while view:
                    view = view[os.write(fd, view) :]
            if done < total:
                raise ObjectError(f"object {name!r} ended after {done:,} of {total:,} bytes")
        except BaseError:  # of the connection: what came is kept
            tries = 0 if done > before else tries + 1
            if tries > _RESUMES or total < 0:
                raise
            time.sleep(0.1 * 2**tries)
    return digest.hexdigest()


class RemoteFile(io.RawIOBase):
    """An object as a file that can be read from any place; nothing of it is kept."""

    def __init__(
        self, store: Any, name: str, size: int, told: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        super().__init__()
        self._store, self._name, self._size, self._told = store, name, size, told
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that any place of it can be read."""
        return True

    def tell(self) -> int:
        """Return the place from which the next byte comes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, from the start, from here, or from the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the start of the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes by one request."""
        import obstore

        view = memoryview(buffer).cast("B")
        count = min(len(view), self._size - self._at)
        if count <= 0:
            return 0
        with self._told("cannot read"):
            data = memoryview(
                obstore.get_range(self._store, self._name, start=self._at, length=count)
            )
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
