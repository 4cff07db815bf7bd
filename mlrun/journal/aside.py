"""Damaged files outlive their absorption: what could be read of them is in the stores, they themselves are kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlrun.contracts import Finding
from mlrun.journal.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FOLDER", "let_go", "list_aside"]

FOLDER = "damaged"  # in the journal; no slot bears such a name


def let_go(*paths: Path, damaged: bool) -> None:
    """Unlink files of a slot, or keep them aside if one of them is damaged."""
    for path in paths:
        if not damaged:
            path.unlink(missing_ok=True)
            continue
        aside = path.parent.parent / FOLDER
        aside.mkdir(mode=0o700, exist_ok=True)
        try:
            os.replace(path, aside / f"{path.parent.name}-{path.name}")
        except FileNotFoundError:
            continue  # another absorber was quicker
        sync_folder(aside)


def list_aside(journal: Path) -> Iterator[Finding]:
    """Tell what is kept aside, for `doctor`."""
    folder = journal / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        what = "was damaged when it was absorbed, and lacks something; it is kept for you to delete"
        yield Finding("lost", f"journal/{FOLDER}/{path.name}", what)
