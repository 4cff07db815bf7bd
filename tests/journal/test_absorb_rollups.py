"""The absorber's last step merges rollup files; nothing that was absorbed depends on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.advisorylock import FileLock
from mlrun.errors import CorruptStore
from mlrun.journal.absorb import absorb
from mlrun.journal.absorb_rollups import gather_rollups
from mlrun.notices import MlrunWarning
from mlrun.tables import METRICS, ROLLUPS
from mlrun.tracking.background import drain

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.store import Store

STEPS = 130


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return mlrun.open_store(tmp_path / "store")


def absorb_one_more(store: Store, number: int) -> None:
    """Log a stretch of one run and absorb it in a commit of its own."""
    run = mlrun.init("p", store=store, id="long", resume="allow", console=False)
    for step in range(number * STEPS, (number + 1) * STEPS):
        run.log({"loss": float(step % 100)}, step)
    run.finish()
    assert drain(60)
    store.writer().close()
    absorb(store, wait=True)


def rollup_files(store: Store) -> int:
    series: Any = store.series
    return len(series._log(ROLLUPS).state().files)


def test_many_absorbs_leave_few_rollup_files_and_the_same_chart(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(type(store.series), "gather", lambda *_: {})
        for number in range(16):
            absorb_one_more(store, number)
    assert rollup_files(store) == 16

    def chart() -> Any:
        return mlrun.metrics("long", keys=["loss"], points=8, store=store)

    before, marks = chart(), store.series.snapshot(ROLLUPS).marks()
    absorb(store, wait=True)
    assert rollup_files(store) == 1
    assert chart().equals(before)
    assert store.series.snapshot(ROLLUPS).marks() == marks
    assert mlrun.metrics("long", keys=["loss"], store=store).height == 16 * STEPS


class Killed(BaseException):
    pass


def test_a_kill_in_the_merge_costs_nothing_that_was_absorbed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> dict[str, int]:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(type(store.series), "gather", killed)
        with pytest.raises(Killed):
            absorb_one_more(store, 0)
    assert not list(store.journal.rglob("*.seg"))
    lock = FileLock(store.journal / "absorb.lock")
    assert lock.acquire(wait=False)
    lock.release()
    absorb_one_more(store, 1)
    assert mlrun.metrics("long", keys=["loss"], store=store)["step"].to_list() == list(
        range(2 * STEPS)
    )
    marks = [store.series.snapshot(table).marks() for table in (METRICS, ROLLUPS)]
    assert marks[0] == marks[1]


def test_a_merge_that_fails_is_told_and_fails_no_absorb(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> dict[str, int]:
        raise CorruptStore("a file cannot be read")

    monkeypatch.setattr(type(store.series), "gather", damaged)
    with pytest.warns(MlrunWarning, match="not merged: a file cannot be read"):
        absorb_one_more(store, 0)
    assert mlrun.metrics("long", keys=["loss"], store=store).height == STEPS


def test_a_store_that_cannot_gather_is_left_alone() -> None:
    gather_rollups(SimpleNamespace(series=object()))  # type: ignore[arg-type]
