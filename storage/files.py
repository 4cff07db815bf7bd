"""Objects in a folder: `file:///abs/objects`, one read-only file per content, named by its SHA-256.

```
objects/
  3f/3fc9…e1        immutable bytes, mode 0400
  tmp/put-…         a put under way; its flock says that the writer lives
  tmp/sweep-<sha>   an object between "looks unused" and "is gone"
  damaged/<sha>     moved aside by check(repair=True): bytes that no longer have their hash
```

Nothing here is ever locked for long: a file gets its final name by one rename after its bytes are on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlrun.contracts import Finding, StoredObject
from mlrun.errors import ConfigError, NotFound, ObjectError, StoreClosed

from .bytecopy import clone, copy, hash_file, open_regular

if sys.platform != "win32":  # there the age alone tells a put under way from a dead one
    import fcntl

if TYPE_CHECKING:
    import builtins
    from collections.abc import Collection, Iterator

__all__ = ["FileObjects"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY = hashlib.sha256(b"").hexdigest()
_UNLOCKED_AGE = 86_400.0  # seconds; only where there is no flock


class FileObjects:
    """Content-addressed files in one folder.

    Args:
        url: `file:///absolute/folder`, taken as it is (nothing is percent-decoded). The folder is made by the first
            `put`; a reader of an absent folder sees an empty store.

    The `uri` of what is stored is relative (`objects/<aa>/<sha256>`), so that a store folder can be moved.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith("file://"):
            raise ConfigError(f"an object folder has the form file:///folder, not {url!r}")
        self.url = url
        self.folder = Path(url.removeprefix("file://"))
        if not self.folder.is_absolute():
            raise ConfigError(f"{url!r} is not absolute: it needs three slashes")
        self._closed = False

    def __repr__(self) -> str:
        return f"FileObjects({self.url!r})"

    def __reduce__(self) -> tuple[type[FileObjects], tuple[str]]:
        return FileObjects, (self.url,)

    def put(self, source: Path | bytes | BinaryIO) -> StoredObject:
        """Store a file's, a stream's or given bytes; they are on the disk when this returns.

        Raises:
            ObjectError: no regular file at that path, or the disk is full or failing; nothing is left behind.
        """
        stored, folders = self._put(source)
        _sync_folders(folders)
        return stored

    def put_all(self, sources: Collection[Path]) -> builtins.list[StoredObject]:
        """Store many files; as `put`, but each folder of the store is synced once at the end."""
        out: list[StoredObject] = []
        touched: set[Path] = set()
        try:
            for source in sources:
                stored, folders = self._put(source)
                touched |= folders
                out.append(stored)
        finally:
            _sync_folders(touched)
        return out

    def open(self, sha256: str, *, verify: bool = False) -> BinaryIO:
        """Open stored bytes for reading.

        Args:
            sha256: 64 hexadecimal digits, lower case.
            verify: read everything once and compare the hash.

        Raises:
            NotFound: nothing is stored under this hash.
            ObjectError: the bytes are not those that were stored.
        """
        path = self.path(sha256)
        if verify and hash_file(path)[0] != sha256:
            raise ObjectError(f"object {sha256[:12]}… is damaged: its bytes have another hash")
        try:
            return path.open("rb")
        except FileNotFoundError as error:  # freed since
            raise NotFound(f"no object {sha256[:12]}…") from error

    def path(self, sha256: str) -> Path:
        """Return the file that holds the bytes: read-only, and never to be written to.

        Raises:
            NotFound: nothing is stored under this hash.
            ObjectError: the file is empty though its content is not.
        """
        self._check_open()
        path = self._place(sha256)
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            aside = (self.folder / "damaged" / sha256).exists()
            why = ": it was damaged and moved aside" if aside else ""
            raise NotFound(f"no object {sha256[:12]}…{why}") from error
        if size == 0 and sha256 != _EMPTY:
            raise ObjectError(f"object {sha256[:12]}… is damaged: its file is empty")
        return path

    def delete(self, sha256: str) -> bool:
        """Free the bytes; False if there are none."""
        self._check_open()
        try:
            self._place(sha256).unlink()
        except (FileNotFoundError, NotFound):
            return False
        return True

    def list(self) -> Iterator[StoredObject]:
        """Iterate over everything stored, in order of the hash."""
        self._check_open()
        for path in self._files():
            # freed while we walk: it is not stored any more
            with contextlib.suppress(FileNotFoundError):
                yield _stored(path.name, path.stat().st_size)

    def sweep(self, keep: Collection[str], *, older_s: float = 86_400.0) -> tuple[int, int]:
        """Free every object that is not in `keep` and was last put more than `older_s` seconds ago.

        The age spares bytes whose record is still on its way. Safe while others put the same bytes: an object put
        again in between is kept.

        Returns:
            How many objects were freed, and their bytes.
        """
        self._check_open()
        count = freed = 0
        before = time.time() - older_s
        for path in self._files():
            if path.name in keep:
                continue
            with contextlib.suppress(FileNotFoundError):  # another sweep had it first
                found = path.stat()
                if found.st_mtime <= before and self._free(path, before):
                    count, freed = count + 1, freed + found.st_size
        return count, freed

    def check(self, *, repair: bool = False) -> builtins.list[Finding]:
        """Hash everything again and look for what dead processes left.

        With `repair`, a damaged object is moved aside, so that putting the same bytes again heals it.
        """
        self._check_open()
        findings = self._check_temporary(repair)
        for path in self._files():
            try:
                good = hash_file(path)[0] == path.name
                why = "its bytes have another hash"
            except FileNotFoundError:  # freed while we walk
                continue
            except OSError as error:
                good, why = False, f"it cannot be read ({error.strerror})"
            if not good:
                findings.append(self._report_damage(path, why, repair))
        return findings

    def close(self) -> None:
        """Later calls raise `StoreClosed`; idempotent."""
        self._closed = True

    # -- how -------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the object store is closed")

    def _place(self, sha256: str) -> Path:
        """No text that is not a hash ever becomes a path."""
        if not _SHA256.fullmatch(sha256):
            raise NotFound(f"{sha256[:80]!r} is not a SHA-256")
        return self.folder / sha256[:2] / sha256

    def _files(self) -> Iterator[Path]:
        for part in _names(self.folder):
            if len(part) == 2:
                for name in _names(self.folder / part):
                    if _SHA256.fullmatch(name) and name.startswith(part):
                        yield self.folder / part / name

    def _put(self, source: Path | bytes | BinaryIO) -> tuple[StoredObject, set[Path]]:
        """Store; also return the folders whose entries are new and must be synced."""
        self._check_open()
        try:
            if isinstance(source, (bytes, bytearray, memoryview)):
                data = memoryview(source)
                known = self._touch(hashlib.sha256(data).hexdigest(), data.nbytes)
                return (known, set()) if known else self._write(io.BytesIO(data))
            if isinstance(source, (str, os.PathLike)):
                with open_regular(Path(source)) as file:
                    return self._write(file)
            return self._write(source)
        except OSError as error:
            name = f" {os.fspath(source)!r}" if isinstance(source, (str, os.PathLike)) else ""
            why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
            raise ObjectError(f"cannot store{name}: {why}") from error

    def _write(self, source: BinaryIO) -> tuple[StoredObject, set[Path]]:
        fd, temporary = self._temporary()
        try:
            sha256, size = clone(source, fd) or copy(source, fd)
            known = self._touch(sha256, size)
            if known:
                return known, set()
            temporary.chmod(0o400)
            os.fsync(fd)
            final = self._place(sha256)
            folders = {final.parent}
            if _make_folder(final.parent):
                folders.add(self.folder)
            temporary.rename(final)
            return _stored(sha256, size), folders
        finally:
            # after the rename there is nothing to remove; the lock goes with the descriptor
            with contextlib.suppress(OSError):
                temporary.unlink()
            os.close(fd)

    def _temporary(self) -> tuple[int, Path]:
        folder = self.folder / "tmp"
        while True:
            _make_folder(folder)
            path = folder / f"put-{uuid.uuid4().hex}"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            try:
                fd = os.open(path, flags, 0o600)
            except FileNotFoundError:  # the folder went between the two lines
                continue
            if sys.platform == "win32":
                return fd, path
            # a file system without flock: the age alone then tells the living from the dead
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:  # a check that came before our lock may have removed it
                return fd, path
            os.close(fd)

    def _touch(self, sha256: str, size: int) -> StoredObject | None:
        """Return the object if it is stored whole; its new mtime keeps `sweep` away from it."""
        path = self._place(sha256)
        try:
            if path.stat().st_size != size:
                return None
            os.utime(path)
        except OSError:  # not there, or not ours to touch: write it
            return None
        return _stored(sha256, size)

    def _free(self, path: Path, before: float) -> bool:
        """Unlink by way of `tmp`: whoever put the same bytes meanwhile gets them back."""
        _make_folder(self.folder / "tmp")
        aside = self.folder / "tmp" / f"sweep-{path.name}"
        path.rename(aside)
        if aside.stat().st_mtime > before:
            aside.rename(path)
            return False
        aside.unlink()
        return True

    def _check_temporary(self, repair: bool) -> builtins.list[Finding]:
        out: builtins.list[Finding] = []
        for name in _names(self.folder / "tmp"):
            path = self.folder / "tmp" / name
            if name.startswith("sweep-"):
                what = "an unused object, half removed"
                # another sweep may have finished with it
                with contextlib.suppress(FileNotFoundError, NotFound):
                    if repair:
                        path.rename(self._place(name.removeprefix("sweep-")))
            elif name.startswith("put-") and _is_dead(path, remove=repair):
                what = "the temporary file of a process that died"
            else:
                continue
            out.append(Finding("repaired" if repair else "repairable", f"objects/tmp/{name}", what))
        return out

    def _report_damage(self, path: Path, why: str, repair: bool) -> Finding:
        what = f"the object is damaged: {why}"
        if repair:
            _make_folder(self.folder / "damaged")
            path.rename(self.folder / "damaged" / path.name)
            what += "; it was moved to objects/damaged, storing the same bytes again heals it"
        return Finding("lost", _stored(path.name, 0).uri, what)


def _stored(sha256: str, size: int) -> StoredObject:
    return StoredObject(sha256, size, f"objects/{sha256[:2]}/{sha256}")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_folder(folder: Path) -> bool:
    """Make a private folder and its parents; True if it is new."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    except FileNotFoundError:
        _make_folder(folder.parent)
        _sync_folders({folder.parent.parent})
        return _make_folder(folder)
    return True


def _sync_folders(folders: Collection[Path]) -> None:
    """Make new names durable."""
    for folder in folders:
        try:
            fd = os.open(folder, os.O_RDONLY)
        except OSError:  # Windows cannot open a folder: its renames are journalled
            continue
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _is_dead(path: Path, *, remove: bool) -> bool:
    """Whether nobody writes this temporary file any more; removed under its lock, so that nobody can begin."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # its put is done
        return False
    try:
        dead = _lock_dead(fd)
        if dead and remove:
            path.unlink()
        return dead
    finally:
        os.close(fd)


def _lock_dead(fd: int) -> bool:
    found = os.fstat(fd)
    try:
        if sys.platform != "win32":
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(fd).st_nlink > 0
    except BlockingIOError:
        return False
    except OSError:  # no flock on this file system: judge by the age
        pass
    return time.time() - found.st_mtime > _UNLOCKED_AGE
