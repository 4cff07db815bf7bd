"""Folders as artifacts: every file an object of its own, and one manifest that lists them.

The manifest is JSON: `{"mlrun": "folder/1", "files": [{"path", "sha256", "size", "mode"}, …]}`, sorted by path, so that
the same files make the same artifact. It holds files only. A link to something inside the folder is stored as what it
points to; a link that leaves the folder, leads nowhere or in a circle is left out and told.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import ObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from mlrun.contracts import Objects, StoredObject

__all__ = [
    "FORMAT",
    "StoredFolder",
    "materialise",
    "members",
    "put_all",
    "safe_join",
    "store_folder",
]

FORMAT = "folder"
_KIND = "folder/1"
_MAX_FILES = 1_000_000


@dataclass
class StoredFolder:
    """A folder in the store: its manifest, the bytes of all files together, and what was not stored."""

    manifest: StoredObject
    size: int
    files: int
    left_out: list[str] = field(default_factory=list)


def store_folder(objects: Objects, folder: Path, *, skip: Path | None = None) -> StoredFolder:
    """Put every file of a folder, then its manifest.

    Args:
        objects: where the bytes go.
        folder: what is stored.
        skip: a folder inside it that is passed over (the store itself).

    Raises:
        ObjectError: a file cannot be read or stored.
    """
    left_out: list[str] = []
    found = sorted(_walk(folder, left_out, skip), key=lambda pair: pair[0])
    stored = put_all(objects, [path for _, path in found])
    entries = [
        {"path": name, "sha256": o.sha256, "size": o.size, "mode": 0o755 if _runs(path) else 0o644}
        for (name, path), o in zip(found, stored, strict=True)
    ]
    manifest = json.dumps({"mlrun": _KIND, "files": entries}, indent=0, sort_keys=True)
    size = sum(o.size for o in stored)
    return StoredFolder(objects.put(manifest.encode("ascii")), size, len(entries), left_out)


def members(manifest: BinaryIO) -> list[dict[str, Any]]:
    """Read a manifest: one dict of path, sha256, size and mode per file.

    Raises:
        ObjectError: it is no manifest.
    """
    try:
        content = json.loads(manifest.read())
        files = content["files"] if content["mlrun"] == _KIND else None
        if files is not None and all(isinstance(f["path"], str) and f["sha256"] for f in files):
            return list(files)
    except (ValueError, KeyError, TypeError) as error:
        raise ObjectError(f"the folder's manifest cannot be read: {error}") from error
    raise ObjectError("the folder's manifest has an unknown form")


def materialise(objects: Objects, manifest: BinaryIO, target: Path, *, link: bool = False) -> Path:
    """Write the files of a manifest into `target`, which must not be there; all of them or none.

    Args:
        objects: where the files are.
        manifest: the open manifest.
        target: the folder to make.
        link: share read-only files with the store (hard links) instead of copying them, where possible.

    Raises:
        ObjectError: a path leads out of the folder, a file is missing, or `target` exists.
    """
    if target.exists():
        raise ObjectError(f"{target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        partial.mkdir()
        for entry in members(manifest):
            path = safe_join(partial, entry["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            _place(objects.path(entry["sha256"]), path, int(entry.get("mode", 0o644)), link)
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, with the same files
                raise
    except OSError as error:
        raise ObjectError(f"cannot write {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def safe_join(folder: Path, name: str) -> Path:
    """Return `folder/name` if that lies inside the folder.

    Raises:
        ObjectError: the name is absolute, empty, or climbs out.
    """
    parts = name.replace("\\", "/").split("/") if os.sep == "\\" else name.split("/")
    drive = os.path.splitdrive(name)[0]
    if drive or "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise ObjectError(f"refused the path {name!r}: it does not stay inside the folder")
    return folder.joinpath(*parts)


def put_all(objects: Objects, paths: list[Path]) -> list[StoredObject]:
    """Store many files, together where the store can do that faster."""
    together = getattr(
        objects, "put_all", None
    )  # an ability: one sync of each folder instead of many
    if together is not None:
        stored: list[StoredObject] = together(paths)
        return stored
    return [objects.put(path) for path in paths]


def _walk(folder: Path, left_out: list[str], skip: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield (path inside the folder with `/`, real path) of every regular file."""
    root = Path(os.path.realpath(folder))
    passed_over = Path(os.path.realpath(skip)) if skip else None
    count = 0
    waiting: list[tuple[str, Path, frozenset[str]]] = [("", root, frozenset([str(root)]))]
    while waiting:
        prefix, place, above = waiting.pop()
        with os.scandir(place) as found:
            entries = sorted(found, key=lambda e: e.name)
        for entry in entries:
            name, real = prefix + entry.name, Path(entry.path)
            if entry.is_symlink():
                real = Path(os.path.realpath(entry.path))
                if not real.is_relative_to(root) or str(real) in above:
                    left_out.append(name)
                    continue
            try:
                mode = real.stat().st_mode
            except OSError:  # a link to nothing, or gone since
                left_out.append(name)
                continue
            if stat.S_ISDIR(mode) and real == passed_over:
                continue
            if stat.S_ISDIR(mode):
                waiting.append((name + "/", real, above | {str(real)}))
            elif stat.S_ISREG(mode):
                count += 1
                yield name, real
            else:  # a pipe, a socket, a device
                left_out.append(name)
            if count > _MAX_FILES:
                raise ObjectError(f"{folder} holds more than {_MAX_FILES:,} files")


def _runs(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IXUSR)


def _place(source: Path, target: Path, mode: int, link: bool) -> None:
    runs = bool(mode & stat.S_IXUSR)
    if link and not runs:  # a link shares its mode with the object, which nobody may run
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)
    target.chmod(0o755 if runs else 0o644)
