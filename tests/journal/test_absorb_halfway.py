"""An absorber that is killed between two tables leaves them at different marks: the next one must catch up on each."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.journal.absorb import absorb
from mlrun.journal.snapshot import read_journal
from mlrun.tables import ROLLUPS

if TYPE_CHECKING:
    from pathlib import Path

SPAWN = multiprocessing.get_context("spawn")


def _short_run(folder: str) -> None:
    with mlrun.init("p", store=folder, id="short", console=False) as run:
        run.log({"loss": 1.0}, 0)


class Killed(BaseException):
    pass


def test_rows_that_came_after_a_half_done_commit_are_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = mlrun.open_store(tmp_path / "store")
    other = SPAWN.Process(target=_short_run, args=(store.url,))
    other.start()
    other.join()
    run = mlrun.init("p", store=store, id="long", console=False)
    run.log({"loss": 0.0}, 0)

    def sealed() -> int:
        assert run.writer is not None
        segments = read_journal(store.journal).writers[run.writer.name].segments
        return sum(s.rows for s in segments if s.sealed)

    def log_until_a_segment_is_sealed(step: int) -> int:
        before = sealed()
        while sealed() <= before:
            for _ in range(500):
                run.log({"loss": float(step)}, step)
                step += 1
        return step

    step = log_until_a_segment_is_sealed(1)
    append = type(store.series).append

    def killed_before_rollups(self: Any, table: Any, *rest: Any, **more: Any) -> bool:
        if table is ROLLUPS:
            raise Killed
        return bool(append(self, table, *rest, **more))

    with monkeypatch.context() as patched:
        patched.setattr(type(store.series), "append", killed_before_rollups)
        with pytest.raises(Killed):
            absorb(store, wait=True)
    step = log_until_a_segment_is_sealed(step)  # only this writer goes on
    absorb(store, wait=True)
    assert mlrun.metrics("long", store=store)["step"].to_list() == list(range(step))
    assert mlrun.metrics("short", store=store).height == 1
    run.finish()
    store.writer().close()
    absorb(store, wait=True)
    assert mlrun.metrics("long", store=store)["step"].to_list() == list(range(step))
    chart = mlrun.metrics("long", keys=["loss"], points=100, store=store)
    assert chart["step"][-1] == step - 1
