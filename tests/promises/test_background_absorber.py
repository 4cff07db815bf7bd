"""The absorber is started beside training when enough waits, and never for what living writers still hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.journal import waiting
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT = """
    import sys, mlrun
    with mlrun.init(project="p", name=sys.argv[1]) as run:
        run.log({"a": 1.0})
"""
LONG = """
    import sys, time, mlrun
    run = mlrun.init(project="p", name=sys.argv[1])
    run.log({"a": 1.0})
    print("ready", flush=True)
    time.sleep(600)
"""


def journal_files(folder: Path) -> list[str]:
    return sorted(p.suffix for p in folder.rglob("w-*/*") if p.suffix in (".seg", ".rec", ".dict"))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come true within a minute")


def test_a_detached_absorber_takes_what_ended_writers_left(
    own_folder: Path, python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    python(SHORT, "a")
    python(SHORT, "b")  # the slot of "a" is not free before it is absorbed
    store = open_store()
    assert waiting.waiting(store.journal)[0] == 2
    assert not waiting.absorb_in_background(store)
    monkeypatch.setattr(waiting, "MAX_WRITERS", 2)
    monkeypatch.setattr(waiting, "_last_look", {})
    assert waiting.absorb_in_background(store)
    assert not waiting.absorb_in_background(store)  # one look a second
    wait_until(lambda: journal_files(store.journal) == [])
    assert mlrun.metrics(mlrun.runs()).height == 2


def test_living_writers_are_no_reason_to_start_one(own_folder: Path, start: Any) -> None:
    for name in ("a", "b", "c"):
        assert start(LONG, name).stdout.readline() == "ready\n"
    store = open_store()
    assert waiting.waiting(store.journal) == (0, 0)
    assert waiting.waiting(store.journal, living=True)[0] == 3
    assert waiting.is_due(store.journal, on_network=True)
    assert not waiting.is_due(store.journal)


def test_sealed_segments_of_a_living_writer_count() -> None:
    run = mlrun.init(project="p")
    for step in range(150_000):
        run.log({"a": float(step)})
    writers, size = waiting.waiting(open_store().journal)
    assert writers == 0
    assert 0 < size < waiting.waiting(open_store().journal, living=True)[1]
