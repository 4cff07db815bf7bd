"""Free what jobs of Ray Tune have left in `<store>/tune/<run>` and nobody can go on with.

A study that ends removes its folder itself. One that was killed leaves it, so that its job can be taken up again
(`view.retry()`): that is kept while it may happen.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from mlrun.lookup.liveness import OPEN_STATES
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlrun.store import Store

__all__ = ["KEEP_STUDY_DAYS", "free_studies"]

KEEP_STUDY_DAYS = 30  # of a job that failed: as long as deleted runs are kept
_KEEP_UNKNOWN_SECONDS = 86_400  # the record of its run may still be on its way
_GONE = ".gone-"


def free_studies(store: Store) -> int:
    """Remove the folders of studies whose run has completed, is deleted or unknown, or failed long ago.

    Returns:
        How many were removed.
    """
    from mlrun.lookup.sight import snapshot

    folders = list(_folders(store.folder / "tune"))
    if not folders:
        return 0
    with snapshot(store) as sight:
        runs = sight.rows(RUNS, [f.name for f in folders])
    states = {
        run_id: "deleted" if deleted is not None else state
        for run_id, state, deleted in runs.select("run_id", "state", "deleted_at").iter_rows()
    }
    freed = 0
    for folder in folders:
        if folder.name.startswith(_GONE) or _is_done(states.get(folder.name), _age(folder)):
            freed += _remove(folder)
    return freed


def _is_done(state: str | None, age: float) -> bool:
    if state in OPEN_STATES:
        return False
    if state in ("completed", "deleted"):
        return True
    if state is None:
        return age > _KEEP_UNKNOWN_SECONDS
    return age > KEEP_STUDY_DAYS * 86_400


def _age(folder: Path) -> float:
    """Return the seconds since anything in the folder, or in a trial's, was written."""
    times = [folder.stat().st_mtime, *(e.stat().st_mtime for e in os.scandir(folder))]
    return time.time() - max(times)


def _remove(folder: Path) -> bool:
    """Remove a folder; it gets another name first, so that nobody finds half of it."""
    gone = folder
    if not folder.name.startswith(_GONE):
        gone = folder.with_name(f"{_GONE}{folder.name}")
        try:
            folder.rename(gone)
        except FileNotFoundError:  # its study has just ended
            return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _folders(tune: Path) -> Iterator[Path]:
    try:
        found = sorted(tune.iterdir())
    except FileNotFoundError:
        return
    yield from (path for path in found if path.is_dir() and not path.is_symlink())
