"""How much of the disk a store in a folder takes, by its parts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["sizes"]


def sizes(folder: Path) -> pl.DataFrame:
    """Return `part, files, bytes` of what lies in a store's folder, the largest first; links are not followed."""
    rows = []
    with os.scandir(folder) as entries:
        for entry in entries:
            count, size = _measured(entry)
            rows.append((entry.name, count, size))
    schema = {"part": pl.String, "files": pl.Int64, "bytes": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("bytes", "part", descending=[True, False])  # fmt: skip


def _measured(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Return how many files there are, and their bytes; what goes away meanwhile is not counted."""
    if not entry.is_dir(follow_symlinks=False):
        try:
            return 1, entry.stat(follow_symlinks=False).st_size
        except OSError:
            return 0, 0
    count = size = 0
    for place, _, names in os.walk(entry.path):
        for name in names:
            try:
                size += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
            count += 1
    return count, size
