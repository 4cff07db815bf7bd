"""Checkpoints of a run: a folder from which a handler that is started again goes on.

While a study tunes, its trials' checkpoints are the study's (they are handed from one trial to another). Otherwise a
checkpoint is an artifact of the run, and a further attempt of the run finds it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, NotFound
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from mlrun.tracking.run import Run

__all__ = ["load_checkpoint", "save_checkpoint"]

_KEY = "checkpoint"


def save_checkpoint(run: Run, place: Any) -> None:
    """Keep a copy of a folder, or of one file.

    Raises:
        ConfigError: there is no such folder or file.
    """
    path = Path(place)
    if not path.exists():
        raise ConfigError(f"there is no {path} to keep as a checkpoint")
    with tempfile.TemporaryDirectory(prefix="mlrun-checkpoint-") as folder:
        if path.is_file():
            shutil.copy2(path, folder)
            path = Path(folder)
        if run.checkpoints is not None:
            run.checkpoints.save_checkpoint(path)
        else:
            run.log_artifact(_KEY, local_path=str(path), type=_KEY)


def load_checkpoint(run: Run) -> Path | None:
    """Return the folder of the newest checkpoint: of the run, or of an earlier attempt of it; None if there is none."""
    if run.checkpoints is not None:
        found: Path | None = run.checkpoints.load_checkpoint()
        return found
    if run.store is None:
        return None
    from mlrun.view import RunView

    for run_id in [run.id, *_earlier(run)]:
        try:
            return Path(RunView(run.store, run_id).artifact(_KEY).path())
        except NotFound:
            continue
    return None


def _earlier(run: Run) -> list[str]:
    """Return the ids of earlier attempts, the newest first."""
    from mlrun.execution.attempts import attempt_label

    task = run.task
    if task is None or task.parent is None or attempt_label not in task.labels:
        return []
    run.store.flush_records()
    rows = run.store.records.lookup(RUNS, {"parent": task.parent})
    ids = [row["run_id"] for row in rows if row["run_id"] != run.id]
    return sorted(ids, reverse=True)
