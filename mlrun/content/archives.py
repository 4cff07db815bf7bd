"""Unpacking zip and tar archives that somebody else made.

Only plain files and folders come out, only inside the target, and no more bytes than allowed. Links, devices and paths
that climb are refused, and then nothing is left of the archive.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING

from mlrun.content.folders import safe_join
from mlrun.errors import ObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

__all__ = ["unpack"]

_CHUNK = 1 << 20


def unpack(archive: Path, target: Path, *, max_bytes: int = 100 << 30) -> Path:
    """Unpack into `target`, which must not be there; everything or nothing.

    Args:
        archive: a zip file, or a tar file in any compression that Python reads.
        target: the folder to make.
        max_bytes: what the files may weigh together; a bomb stops there.

    Raises:
        ObjectError: it is no archive, holds something else than files and folders, or is too big.
    """
    if target.exists():
        raise ObjectError(f"{target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        partial.mkdir()
        for name, content in _entries(archive):
            max_bytes -= _write(safe_join(partial, name), content, max_bytes)
        partial.rename(target)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, RuntimeError) as error:
        raise ObjectError(f"cannot unpack {archive.name}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _entries(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield (name, open file) of the members; None instead of a file for a folder."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as pack:
            for info in pack.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                    raise ObjectError(f"refused {info.filename!r}: it is not a plain file")
                name = info.filename.rstrip("/")
                if info.is_dir():
                    yield name, None
                    continue
                with pack.open(info) as file:
                    yield name, file
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix("./").rstrip("/")
            if member.isdir() and name in {"", "."}:
                continue
            if not (member.isreg() or member.isdir()):
                raise ObjectError(f"refused {member.name!r}: it is not a plain file")
            yield name, tar.extractfile(member) if member.isreg() else None


def _write(path: Path, content: IO[bytes] | None, room: int) -> int:
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("xb") as out:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            if size > room:
                raise ObjectError("refused: the archive is bigger than allowed")
            out.write(chunk)
    return size
