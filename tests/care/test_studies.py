from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

import mlrun
from mlrun.care.compaction import compact
from mlrun.care.studies import free_studies
from mlrun.store import Store, open_store

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400


def study(store: Store, run_id: str, *, days: float) -> Path:
    """Make what Tune leaves, last written so many days ago."""
    folder = store.folder / "tune" / run_id
    (folder / "00001").mkdir(parents=True)
    (folder / "00001" / "result.json").write_text("{}")
    (folder / "tuner.pkl").write_bytes(b"state")
    then = time.time() - days * DAY
    for path in (folder / "00001" / "result.json", folder / "00001", folder / "tuner.pkl", folder):
        os.utime(path, (then, then))
    return folder


def ended(state: str) -> str:
    run = mlrun.init(project="p")
    if state == "error":
        run.finish(state="error")
    else:
        run.finish()
    return run.id


@pytest.mark.parametrize(
    ("state", "days", "kept"),
    [("completed", 0, False), ("error", 29, True), ("error", 31, False)],
)
def test_a_study_is_kept_while_its_job_can_be_taken_up_again(
    state: str, days: float, kept: bool
) -> None:
    store = open_store()
    folder = study(store, ended(state), days=days)
    assert compact(store)["studies_freed"] == (not kept)
    assert folder.exists() is kept


def test_a_study_at_work_is_left_alone_however_old() -> None:
    store = open_store()
    with mlrun.init(project="p") as run:
        folder = study(store, run.id, days=99)
        assert free_studies(store) == 0
    assert folder.exists()
    assert free_studies(store) == 1


def test_studies_of_deleted_and_unknown_runs_go() -> None:
    store = open_store()
    gone = ended("error")
    mlrun.get_run(gone).delete()
    deleted, old = study(store, gone, days=0), study(store, "unknown", days=2)
    young = study(store, "not-yet-known", days=0)
    assert free_studies(store) == 2
    assert (deleted.exists(), old.exists(), young.exists()) == (False, False, True)


def test_a_removal_that_was_killed_is_finished_and_files_are_no_studies() -> None:
    store = open_store()
    ended("completed")
    study(store, ".gone-x", days=0)
    (store.folder / "tune" / "notes.txt").write_text("mine")
    assert free_studies(store) == 1
    assert [p.name for p in (store.folder / "tune").iterdir()] == ["notes.txt"]
