from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.journal import absorb as absorbing
from mlrun.journal.absorb import absorb, absorb_records
from mlrun.journal.fold import fold_points, fold_rows
from mlrun.journal.snapshot import read_journal
from mlrun.journal.waiting import is_due, waiting
from mlrun.testing.crash import run_crash
from mlrun.tracking.background import drain

if TYPE_CHECKING:
    import polars as pl

    from mlrun.contracts import Mark
    from mlrun.store import Store

ROOT = str(Path(__file__).parents[2])
SPAWN = multiprocessing.get_context("spawn")


def files(store: Store, *endings: str) -> list[str]:
    return sorted(p.name for p in store.journal.rglob("*") if p.name.endswith(endings))


def logged(runs: int = 3, steps: int = 50) -> list[str]:
    ids = []
    for n in range(runs):
        with mlrun.init(project="p", name=f"r{n}") as run:
            for step in range(steps):
                run.log({"loss": 1.0 / (step + 1), "acc": float(step)}, step=step)
        ids.append(run.id)
    assert drain(60)  # where the runs came from is recorded before the files are sealed
    mlrun.open_store().writer().close()
    return ids


def points(ids: list[str]) -> pl.DataFrame:
    return mlrun.metrics(ids)


@pytest.mark.usefixtures("series_url")
def test_absorbing_moves_every_row_once_and_leaves_no_file() -> None:
    ids = logged()
    store = mlrun.open_store()
    before, runs_before = points(ids), mlrun.runs("p")
    counts = absorb(store, wait=True)
    assert counts["points"] >= 300
    assert files(store, ".seg", ".rec", ".dict", ".txt") == []
    assert points(ids).equals(before)
    assert mlrun.runs("p").equals(runs_before)
    assert absorb(store, wait=True)["points"] == 0


def test_a_living_writer_keeps_its_open_files() -> None:
    run = mlrun.init(project="p")
    run.log({"loss": 1.0})
    store = mlrun.open_store()
    absorb(store, wait=True)
    assert files(store, ".seg") != []
    run.log({"loss": 2.0})
    assert mlrun.metrics(run.id, keys=["loss"])["value"].to_list() == [1.0, 2.0]
    assert mlrun.runs("p")["metrics.loss"].to_list() == [2.0]
    run.finish()


@pytest.mark.parametrize("step", ["records", "metrics", "system", "rollups", "unlink"])
def test_a_fault_between_any_two_steps_loses_and_doubles_nothing(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.journal import series as absorbing_series

    ids = logged()
    store = mlrun.open_store()
    before, runs_before = points(ids), mlrun.runs("p")
    fail_at = {"records": 1, "metrics": 1, "system": 2, "rollups": 3}
    real_append, calls = store.series.append, 0

    def append(*args: Any, **kwargs: Any) -> bool:
        nonlocal calls
        calls += 1
        done = real_append(*args, **kwargs)
        if step != "records" and calls >= fail_at.get(step, 99):
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(store.series, "append", append)
        if step == "records":
            patch.setattr(
                absorbing, "_record_lost", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
            )
        if step == "unlink":
            patch.setattr(
                absorbing_series, "_unlink", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
            )
        try:
            absorb(store, wait=True)
        except KeyboardInterrupt:
            assert points(ids).equals(before)
    absorb(store, wait=True)
    assert points(ids).equals(before)
    assert mlrun.runs("p").equals(runs_before)
    assert files(store, ".seg", ".rec", ".txt") == []


def _absorb_in(folder: str, times: int) -> None:
    for _ in range(times):
        absorb(mlrun.open_store(folder), wait=True)


@pytest.mark.usefixtures("series_url")
def test_two_absorbers_at_once_apply_everything_once() -> None:
    ids = logged(runs=5)
    store = mlrun.open_store()
    before = points(ids)
    workers = [SPAWN.Process(target=_absorb_in, args=(str(store.folder), 2)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert points(ids).equals(before)
    counts = mlrun.sql("select run_id, key, count(*) as n from metrics group by 1, 2")
    assert set(counts["n"]) == {50}


def test_a_second_absorber_does_not_wait_when_told_not_to() -> None:
    logged(runs=1)
    store = mlrun.open_store()
    from mlrun.advisorylock import FileLock

    with FileLock(store.journal / "absorb.lock"):
        assert absorb(store, wait=False) == {}
    with FileLock(store.journal / "records.lock"):
        assert absorb_records(store, wait=False) is False


def test_plain_python_and_polars_fold_alike() -> None:
    with mlrun.init(project="p") as run:
        for step, value in [(3, 1.0), (1, float("nan")), (3, float("inf")), (2, -5.0), (2, 4.0)]:
            run.log({"a": value, "only-nan": float("nan")}, step=step)
    journal = read_journal(mlrun.open_store().journal)
    none: dict[str, Mark] = {}
    plain = fold_rows(journal.rows("metrics", after=none))
    framed = fold_points(journal.points("metrics", after=none))
    assert sorted(plain) == sorted(framed)
    by_key = {row[1]: row for row in plain}
    assert by_key["a"][2:10] == (float("inf"), -5.0, float("inf"), float("inf"), 5, 1, 1, 3)
    assert by_key["only-nan"][2:8] == (None, None, None, None, 5, 5)


def test_a_record_that_fits_no_table_is_set_aside_and_holds_nothing_up() -> None:
    run = mlrun.init(project="p", name="a")
    store = mlrun.open_store()
    store.writer().record([("put", "no_such_table", {"x": 1})])
    store.writer().record(
        [("put", "params", {"run_id": run.id, "key": "k", "value": "1", "type": "int", "odd": 2})]
    )
    store.writer().record([("put", "params", {"run_id": run.id, "key": "without a value"})])
    run.log_result("score", 1)
    run.finish()
    absorb(store, wait=True)
    assert mlrun.get_run(run.id).results == {"score": 1}
    assert (store.journal / "rejected.jsonl").read_text().count("\n") == 3


def test_it_is_due_when_enough_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    logged(runs=1)
    journal = mlrun.open_store().journal
    assert waiting(journal)[0] == 1
    assert not is_due(journal)
    monkeypatch.setattr("mlrun.journal.waiting.MAX_BYTES", 1000)
    assert is_due(journal)


SHORT_RUN = """
import sys, mlrun
with mlrun.init(project="p", name=f"r{sys.argv[2]}", store=sys.argv[1]) as run:
    run.log({"loss": 1.0})
"""


def test_many_short_processes_leave_few_files() -> None:
    store = mlrun.open_store()
    for number in range(0, 12, 4):
        words = [sys.executable, "-c", SHORT_RUN, str(store.folder)]
        env = {**os.environ, "PYTHONPATH": ROOT}
        batch = [subprocess.Popen([*words, f"{number + i}"], env=env) for i in range(4)]
        assert [process.wait(60) for process in batch] == [0] * 4
        absorb(store, wait=True)
    assert mlrun.runs("p").height == 12
    slots = [p for p in store.journal.iterdir() if p.is_dir()]
    assert len(slots) <= 5  # as many as lived at once, and this process's own


@pytest.mark.slow
@pytest.mark.parametrize(
    ("writers", "seed"), [(1, 1), (1, 2), pytest.param(8, 3, marks=pytest.mark.soak)]
)
def test_sigkill_at_a_random_moment_loses_and_doubles_nothing(
    writers: int, seed: int, tmp_path: Path
) -> None:
    report = run_crash(tmp_path / "store", writers=writers, seconds=1.0, seed=seed)
    assert report.violations == []
    assert report.acknowledged >= writers
    assert report.rows >= 3 * report.acknowledged


def test_a_lost_run_is_recorded_as_lost_and_can_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    run_crash(folder, seed=5, seconds=0.1, absorb=False, read=False)
    store = mlrun.open_store(folder)
    assert mlrun.runs("crash", store=folder)["state"].to_list() == ["lost"]
    absorb(store, wait=True)
    row = mlrun.runs("crash", store=folder).row(0, named=True)
    assert row["state"] == "lost"
    assert row["duration"] is not None
    last = mlrun.metrics(row["run_id"], keys="a", store=folder)["step"].to_list()[-1]
    run = mlrun.init(project="crash", id=row["run_id"], resume="must", store=folder)
    run.log({"a": 0.0})
    assert mlrun.runs("crash", store=folder)["state"].to_list() == ["running"]
    assert mlrun.metrics(row["run_id"], keys="a", store=folder)["step"].to_list()[-1] == last + 1
    run.finish()
    assert mlrun.runs("crash", store=folder)["state"].to_list() == ["completed"]
    assert os.path.isdir(store.journal)
