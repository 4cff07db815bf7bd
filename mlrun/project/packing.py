"""A project's folder as one `.zip`, which `load_project(url=…)` reads again."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

__all__ = ["pack"]

_LEFT_OUT = frozenset({".git", ".mlrun", "__pycache__", ".venv", ".ipynb_checkpoints"})
_TIME = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


def pack(folder: Path, target: Path) -> Path:
    """Write the files of a folder to an archive, without caches, the store and what links lead to; returns its path."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, folders, files in os.walk(folder):
            folders[:] = sorted(f for f in folders if f not in _LEFT_OUT)
            for name in sorted(files):
                path = Path(place, name)
                if path.is_symlink() or not path.is_file() or path in (target, fresh):
                    continue
                info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _TIME)
                info.external_attr = (path.stat().st_mode & 0o777 | 0o100000) << 16
                archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED)
    fresh.replace(target)
    return target
