"""The two forms of an export: a folder, or a tar file; both appear whole or not at all.

```
manifest.json                 what is in it: rows, bytes and SHA-256 of every file
tables/<table>-00000.parquet  rows, sorted
objects/<aa>/<sha256>         bytes of artifacts
```
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mlrun.content.archives import unpack
from mlrun.content.folders import safe_join
from mlrun.errors import ObjectError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

__all__ = ["FORMAT", "MANIFEST", "Sink", "checked", "open_sink", "open_source", "sha256_of"]

FORMAT = "mlrun-export/1"
MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class Sink:
    """Takes the files of an export; a folder of its own that is moved into place, or packed, at the end."""

    def __init__(self, work: Path, tar: tarfile.TarFile | None) -> None:
        self._work = work
        self._tar = tar
        self.files: dict[str, dict[str, Any]] = {}

    def table(self, name: str, rows: pa.Table) -> dict[str, Any]:
        """Write rows as Parquet; returns what the manifest says of the file."""
        import pyarrow.parquet as pq

        path = self._work / "table.parquet"
        pq.write_table(rows, path, compression="zstd", write_page_checksum=True)
        entry = {
            "path": name,
            "rows": rows.num_rows,
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        self.file(name, path)
        path.unlink(missing_ok=True)
        return entry

    def file(self, name: str, source: Path) -> None:
        """Copy a file."""
        if self._tar is not None:
            info = self._tar.gettarinfo(str(source), arcname=name)
            with source.open("rb") as data:
                self._tar.addfile(_plain(info), data)
            return
        place = self._place(name)
        shutil.copyfile(source, place)

    def stream(self, name: str, source: BinaryIO) -> int:
        """Copy an open file from its start to its end; returns its size."""
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        if self._tar is not None:
            info = tarfile.TarInfo(name)
            info.size = size
            self._tar.addfile(_plain(info), source)
        else:
            with self._place(name).open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
        return size

    def manifest(self, content: dict[str, Any]) -> None:
        """Write the manifest, the last file."""
        data = json.dumps(content, indent=1, sort_keys=True).encode()
        if self._tar is not None:
            info = tarfile.TarInfo(MANIFEST)
            info.size = len(data)
            self._tar.addfile(_plain(info), io.BytesIO(data))
        else:
            self._place(MANIFEST).write_bytes(data)

    def _place(self, name: str) -> Path:
        place = self._work / "export" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who owns the file here."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info


@contextmanager
def open_sink(target: Path) -> Iterator[Sink]:
    """Make an export at `target` (a tar file if its name ends in `.tar`); an error leaves nothing there.

    Raises:
        StoreError: `target` is there already, or cannot be written.
    """
    if target.exists():
        raise StoreError(f"{target} is there already: exports are not overwritten")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from error
    try:
        if target.suffix == ".tar":
            with tarfile.open(work / "export", "w", format=tarfile.PAX_FORMAT) as tar:
                yield Sink(work, tar)
        else:
            (work / "export").mkdir()
            yield Sink(work, None)
        os.replace(work / "export", target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def open_source(source: Path, scratch: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give the folder and the manifest of an export; a tar file is unpacked into `scratch` meanwhile.

    Raises:
        StoreError: it is no export, or one of a newer version.
    """
    if source.is_dir():
        yield source, _manifest(source)
        return
    if not source.is_file():
        raise StoreError(f"{source} is not there")
    work = Path(tempfile.mkdtemp(prefix=".import.", dir=scratch))
    try:
        folder = unpack(source, work / "export")
        yield folder, _manifest(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        form, tables, objects = content["format"], content["tables"], content["objects"]
    except FileNotFoundError:
        raise StoreError(f"{folder.name} is no export: it has no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder.name}: {MANIFEST} is damaged ({error})") from error
    if form != FORMAT:
        raise StoreError(
            f"{folder.name} has the form {form!r}, this mlrun reads {FORMAT}: upgrade mlrun-arrow"
        )
    if not isinstance(tables, dict) or not isinstance(objects, dict):
        raise StoreError(f"{folder.name}: {MANIFEST} is damaged")
    return dict(content)


def checked(folder: Path, name: str, *, size: int, sha256: str) -> Path:
    """Return the path of a file of an export after comparing its bytes with what the manifest says.

    Raises:
        ObjectError: it is missing or differs, or its name leads out of the folder.
    """
    path = safe_join(folder, name)
    # a link would be read from wherever it points to
    if path.is_symlink() or not path.is_file():
        raise ObjectError(f"{name} is missing from the export")
    if path.stat().st_size != size or sha256_of(path) != sha256:
        raise ObjectError(f"{name} is not what was exported: nothing of it was imported")
    return path


def sha256_of(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
