"""Sources of projects: git repositories, archives and folders, brought into a folder of this host.

Nothing of what is fetched is run, and nothing of it lies outside its folder.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.content.archives import unpack
from mlrun.content.references import is_url, local_path, open_url
from mlrun.errors import ConfigError, NotFound
from mlrun.project.gitclone import clone
from mlrun.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fetch", "inside", "is_archive", "is_git", "local_copy"]

_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_SSH = re.compile(r"[\w.-]+@[\w.-]+:[^\\]+")
_LEFT_OUT = (".git", ".mlrun", "__pycache__", ".venv")
_MOST_BYTES = 4 << 30  # of an archive, unpacked


def is_git(source: str) -> bool:
    """Whether a source is a git repository.

    Example:
        >>> [is_git(s) for s in ("git://host/org/repo#main", "https://host/org/repo.git", "git@host:org/repo.git",
        ...                      "https://host/code.zip", "./here")]
        [True, True, True, False, False]
    """
    plain = source.partition("#")[0]
    if plain.startswith(("git://", "ssh://", "git+https://", "git+ssh://")) or _SSH.fullmatch(
        plain
    ):
        return True
    if plain.endswith(".git"):
        return is_url(plain) or plain.startswith("file://") or Path(plain).is_dir()
    return plain.startswith("file://") and (Path(local_path(plain)) / ".git").exists()


def is_archive(source: str) -> bool:
    """Whether a source is a zip or tar file, by its name."""
    return source.partition("?")[0].lower().endswith(_ARCHIVES)


def fetch(source: str, target: Path, *, secrets: Mapping[str, str] | None = None) -> Path:
    """Bring a source into `target`, which is made; returns it.

    Args:
        source: git URL (`#branch`, `#refs/tags/v1` or `#commit` behind it), archive (path or URL), or folder.
        target: a folder that is not there, or is empty.
        secrets: name -> reference; `GIT_TOKEN`, or `GIT_USERNAME` and `GIT_PASSWORD`, for a private repository.

    Raises:
        ConfigError: it is none of these, or git failed; the message holds no credentials.
        NotFound: there is no such archive or folder.
        ObjectError: an archive that is damaged, too big, or climbs out of its folder.
    """
    if target.exists():
        if not target.is_dir() or any(target.iterdir()):
            raise ConfigError(f"cannot load into {target}: it is not empty")
        target.rmdir()
    if is_git(source):
        return clone(source, target, secrets=secrets)
    if is_archive(source):
        return _unpacked(source, target)
    if is_url(source):
        raise ConfigError(
            f"{redact_url(source)!r} is no source: give a git URL, or an archive "
            f"({', '.join(_ARCHIVES[:3])}), or a folder"
        )
    folder = Path(local_path(source)).expanduser()
    if not folder.is_dir():
        raise NotFound(f"there is no folder {str(folder)!r}")
    return _copied(folder, target)


def _unpacked(source: str, target: Path) -> Path:
    if not is_url(source):
        path = Path(local_path(source)).expanduser()
        if not path.is_file():
            raise NotFound(f"there is no archive {str(path)!r}")
        return _flat(unpack(path, target, max_bytes=_MOST_BYTES))
    with tempfile.TemporaryDirectory(prefix="mlrun-") as folder:
        path = Path(folder, "archive")
        with open_url(source) as data, path.open("wb") as out:
            shutil.copyfileobj(data, out)
        return _flat(unpack(path, target, max_bytes=_MOST_BYTES))


def _flat(folder: Path) -> Path:
    """Take an archive's only folder for the archive: that is how hosts of repositories pack them."""
    found = list(folder.iterdir())
    if len(found) != 1 or not found[0].is_dir():
        return folder
    inner = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    found[0].rename(inner)
    folder.rmdir()
    inner.rename(folder)
    return folder


def _copied(folder: Path, target: Path) -> Path:
    """Copy a folder; links that leave it are left out."""
    root = folder.resolve()
    if target.resolve().is_relative_to(root):
        raise ConfigError(f"cannot copy {folder} into a folder inside it")

    def left_out(place: str, names: list[str]) -> set[str]:
        return {
            n for n in names if n in _LEFT_OUT or not Path(place, n).resolve().is_relative_to(root)
        }

    shutil.copytree(root, target, ignore=left_out)
    return target


def inside(folder: Path, name: str) -> Path:
    """Return the file of a project that was fetched, if it really lies in it, links followed.

    Raises:
        ConfigError: it leads out of the folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(f"refused {name!r}: it leads out of the project's folder")
    return path


@functools.lru_cache(maxsize=64)
def local_copy(source: str) -> Path:
    """Return a folder with a source of code in it: fetched once a process, and gone with it."""
    folder = Path(tempfile.mkdtemp(prefix="mlrun-source-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return fetch(source, folder / "code")
