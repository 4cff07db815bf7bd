"""Folders for code that came along with a call: each lasts as long as its process.

Workers are killed more often than they end, so whoever unpacks code removes the folders of processes that have died: a
lock beside each says that its process lives.
"""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from mlrun.advisorylock import FileLock
from mlrun.errors import StoreError

__all__ = ["unpack_code"]

_PREFIX, _MARK = "mlrun-source-", ".lock"


def unpack_code(archive: bytes) -> str:
    """Unpack a zip archive into a new folder of this process, and return the folder."""
    _sweep()
    fd, mark = tempfile.mkstemp(prefix=_PREFIX, suffix=_MARK)
    os.close(fd)
    lock = FileLock(Path(mark))
    lock.acquire(wait=False)
    folder = Path(mark.removesuffix(_MARK))
    folder.mkdir(0o700)
    atexit.register(_remove, folder, Path(mark), lock)
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        file.extractall(folder)
    return str(folder)


def _sweep() -> None:
    for mark in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*{_MARK}"):
        lock = FileLock(mark)
        with suppress(StoreError, OSError):  # another user's
            if lock.acquire(wait=False):
                _remove(Path(str(mark).removesuffix(_MARK)), mark, lock)


def _remove(folder: Path, mark: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        mark.unlink()
    lock.release()
