"""Local copies of remote objects, so that `path()` has a file to give.

```
<cache>/<hash of the store's URL>/
  3f/3fc9…e1        immutable bytes, mode 0400; its mtime says when it was last wanted
  tmp/…             a copy under way
  pins/<id>         hashes that a process was given paths of; its flock says that the process lives
  lock              held while files are given out (shared) or removed (alone)
```

Once the copies are larger than the bound, those that were not wanted for longest go. A file whose path a living process
was given stays, so the bound holds for what nobody uses.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from hashlib import sha256 as hash_of
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.advisorylock import FileLock
from mlrun.errors import ObjectError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ObjectCache"]

_ABANDONED = 86_400.0  # seconds after which a copy under way is a dead process's


class ObjectCache:
    """Files by SHA-256 in a folder that many processes share.

    Args:
        url: of the store, without secrets: every store has copies of its own.
        folder: where; empty for `mlrun` in the user's cache folder.
        max_bytes: how large the copies may be together.
    """

    def __init__(self, url: str, folder: str, max_bytes: int) -> None:
        self.folder = _root(folder) / "objects" / hash_of(url.encode()).hexdigest()[:16]
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._pins: tuple[int, int] | None = None  # (process, descriptor)
        self._mine: set[str] = set()  # written there
        self._added = max_bytes  # bytes since the folder was measured: measure with the first

    def find(self, sha256: str, *, pin: bool = True) -> Path | None:
        """Return the local copy, kept for this process while it lives; None if there is none."""
        path = self._place(sha256)
        if not path.exists():
            return None
        with self._giving():
            if pin:
                self._pin(sha256)
            try:
                os.utime(path)
            except FileNotFoundError:  # removed before we held the lock
                return None
            except OSError:  # another user's folder: it is as good
                pass
        return path

    @contextmanager
    def filling(self) -> Iterator[tuple[int, Path]]:
        """Give a new file to write into, open, for `keep`; it is removed at the end if it was not kept."""
        path = self.folder / "tmp" / uuid.uuid4().hex
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600
            )
        except OSError as error:
            raise ObjectError(
                f"no local copy can be made in {self.folder}: {error.strerror}"
            ) from error
        try:
            yield fd, path
        finally:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()

    def keep(self, fd: int, path: Path, sha256: str, *, pin: bool = True) -> Path:
        """Take a filled file over as the copy of an object; what was not wanted for longest may go."""
        path.chmod(0o400)
        os.fsync(fd)  # else a power failure leaves a name without bytes
        size = os.fstat(fd).st_size
        final = self._place(sha256)
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._giving():
            if pin:
                self._pin(sha256)
            os.replace(path, final)
        with self._lock:
            self._added += size
            full = self._added > self._max_bytes // 16
        if full:
            self.trim(spare=sha256)
        return final

    def forget(self, sha256: str) -> None:
        """Remove a copy."""
        with contextlib.suppress(OSError):
            self._place(sha256).unlink()

    def once(self, sha256: str) -> FileLock:
        """Return the lock under which one process fetches what others wait for."""
        folder = self.folder / "tmp"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(folder / f"fetch-{sha256[:2]}")

    def trim(self, *, spare: str = "") -> None:
        """Remove copies until they are within the bound, and what dead processes left."""
        if not self.folder.is_dir():
            return
        with self._alone():
            pinned = self._pinned() | {spare}
            files = sorted(self._files(), key=lambda found: found[1].st_mtime)
            total = sum(found.st_size for _, found in files)
            for path, found in files:
                if total <= self._max_bytes:
                    break
                if path.name not in pinned:
                    with contextlib.suppress(OSError):
                        path.unlink()
                        total -= found.st_size
            for path in _entries(self.folder / "tmp"):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > _ABANDONED:
                        path.unlink()
        with self._lock:
            self._added = 0

    def close(self) -> None:
        """Let go of what this process was given."""
        with self._lock:
            pins, self._pins = self._pins, None
        if pins is not None and pins[0] == os.getpid():
            os.close(pins[1])

    # -- how -------------------------------------------------------------------------------------

    def _place(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for part in _entries(self.folder):
            for path in _entries(part) if len(part.name) == 2 else ():
                with contextlib.suppress(OSError):
                    yield path, path.stat()

    def _pin(self, sha256: str) -> None:
        """Write down that this process uses a copy."""
        with self._lock:
            if self._pins is None or self._pins[0] != os.getpid():
                folder = self.folder / "pins"
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
                fd = os.open(folder / uuid.uuid4().hex, flags, 0o600)
                if sys.platform != "win32":
                    fcntl.flock(fd, fcntl.LOCK_EX)
                self._pins, self._mine = (os.getpid(), fd), set()
            if sha256 not in self._mine:
                os.write(self._pins[1], f"{sha256}\n".encode())
                self._mine.add(sha256)

    def _pinned(self) -> set[str]:
        found: set[str] = set()
        for path in _entries(self.folder / "pins"):
            fd = os.open(path, os.O_RDWR)
            try:
                if sys.platform != "win32":
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()  # nobody holds it: its process is gone
            except BlockingIOError:
                found.update(path.read_text(encoding="ascii").split())
            finally:
                os.close(fd)
        return found

    @contextmanager
    def _giving(self) -> Iterator[None]:
        with self._held(shared=True):
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._held(shared=False):
            yield

    @contextmanager
    def _held(self, *, shared: bool) -> Iterator[None]:
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _root(folder: str) -> Path:
    if folder:
        return Path(folder).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlrun"


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
