"""Copying bytes into a file while hashing them, as cheaply as the file system allows."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from mlrun.errors import ObjectError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["clone", "copy", "hash_file", "open_regular"]

_CHUNK = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file, where the file system can
_CLONE_FROM = 1 << 20  # below a megabyte a copy is as cheap


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; a pipe or a device is refused, and does not block us."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ObjectError(f"cannot store {os.fspath(path)!r}: it is not a regular file")
    return os.fdopen(fd, "rb", buffering=0)


def clone(source: BinaryIO, fd: int) -> tuple[str, int] | None:
    """Share the blocks of a big file instead of copying them; None where that cannot be done."""
    if sys.platform == "win32" or not isinstance(source, io.FileIO):
        return None
    if os.fstat(source.fileno()).st_size < _CLONE_FROM:
        return None
    try:
        fcntl.ioctl(fd, _FICLONE, source.fileno())
    except OSError:  # another file system, or one without shared blocks: copy
        return None
    with open(fd, "rb", buffering=0, closefd=False) as cloned:
        return hash_stream(cloned)


def copy(source: BinaryIO, fd: int) -> tuple[str, int]:
    """Copy and hash in one pass, so that the hash is that of the bytes written."""
    digest, size = hashlib.sha256(), 0
    if isinstance(source, io.FileIO) and hasattr(os, "posix_fallocate"):
        expected = os.fstat(source.fileno()).st_size
        if expected > _CHUNK:
            _reserve(fd, expected)
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]
        size += len(chunk)
    os.ftruncate(fd, size)
    return digest.hexdigest(), size


def _reserve(fd: int, size: int) -> None:
    """Take the blocks now, so that a full disk says so before the first byte."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:  # this file system cannot: go on
            raise


def hash_stream(file: Any) -> tuple[str, int]:
    digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(_CHUNK))
    while count := file.readinto(buffer):
        digest.update(buffer[:count])
        size += count
    return digest.hexdigest(), size


def hash_file(path: Path) -> tuple[str, int]:
    """Return SHA-256 (hexadecimal) and size in bytes."""
    with path.open("rb", buffering=0) as file:
        return hash_stream(file)
