"""What cannot be opened just now (too many open files, a disk that stutters) is not passed over by an absorber."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.journal.absorb import absorb, absorb_records
from mlrun.journal.files import LOG, SEGMENT, TEXT, list_numbers
from mlrun.journal.streams import LogStream
from mlrun.tracking.background import drain

if TYPE_CHECKING:
    from mlrun.store import Store

POINTS = 9_000  # some segments


def filled(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a store whose journal holds several files of every kind of one dead writer."""
    store = mlrun.open_store()
    monkeypatch.setattr(type(store), "absorb_records_now", lambda _: False)
    with mlrun.init("p", id="r", console=False, system_metrics=False, git=False) as run:
        writer = store.writer()
        with writer.lock:
            streams = writer._held()
            for stream in (streams.records, streams.texts):
                assert isinstance(stream, LogStream)
                stream._rotate = 200
        for step in range(POINTS):
            run.log({"a": float(step)}, step)
        for n in range(20):
            run.log_result(f"k{n}", n)
            writer.text("p", "r", [(n, "stdout", f"line {n} " + "x" * 50)])
    assert drain(60)  # where the run came from is recorded before the files are sealed
    writer.close()
    return store


def fail_to_open(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = os.open

    def opens(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if os.fspath(path).endswith(names):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", opens)


@pytest.mark.parametrize("kind", [".seg", ".dict", ".rec", ".txt"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_file_that_cannot_be_opened_for_once_keeps_its_content(
    kind: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(monkeypatch)
    [slot] = store.journal.glob("w-*")
    numbers = list_numbers(slot)
    assert min(len(numbers[k]) for k in (SEGMENT, LOG, TEXT)) > 2
    with monkeypatch.context() as patch:
        fail_to_open(patch, f"{numbers[kind][1]:010d}{kind}")
        if whole:
            absorb(store, wait=True)
        else:
            absorb_records(store, wait=True)
    absorb(store, wait=True)
    assert mlrun.metrics("r")["step"].to_list() == list(range(POINTS))
    view = mlrun.get_run("r")
    assert view.results == {f"k{n}": n for n in range(20)}
    assert view.state == "completed"
    assert view.summaries.select("count", "min", "max").rows() == [(POINTS, 0.0, POINTS - 1.0)]
    lines = mlrun.logs("r")["line"].to_list()
    assert [line.split()[1] for line in lines] == [str(n) for n in range(20)]
    assert not any(list_numbers(slot).values())
