from __future__ import annotations

from typing import TYPE_CHECKING

import mlrun

if TYPE_CHECKING:
    from pathlib import Path


def test_summaries_count_every_row_however_often_a_living_writer_is_absorbed(
    tmp_path: Path,
) -> None:
    # the writer prepares its next segment while it still fills the one before
    run = mlrun.init(
        project="live", store=tmp_path / "store", console=False, system_metrics=False, git=False
    )
    for step in range(8_000):
        run.log({"a": step}, step=step)
        if step % 250 == 0:
            run.store.flush_records()
    run.finish()
    found = mlrun.get_run(run.id, store=tmp_path / "store").summaries.row(0, named=True)
    assert (found["count"], found["sum"]) == (8_000, sum(range(8_000)))
    assert mlrun.metrics(run.id, store=tmp_path / "store").height == 8_000


def test_compaction_beside_a_living_writer_loses_no_row_of_a_summary(tmp_path: Path) -> None:
    store = mlrun.open_store(tmp_path / "store")
    run = mlrun.init(project="live", store=store, console=False, system_metrics=False, git=False)
    for step in range(6_000):
        run.log({"a": step, "b": -step}, step=step)
        if step % 900 == 0:
            mlrun.compact(store=store)
    run.finish()
    counts = mlrun.get_run(run.id, store=store).summaries.select("count", "min", "max").rows()
    assert counts == [(6_000, 0.0, 5_999.0), (6_000, -5_999.0, 0.0)]
