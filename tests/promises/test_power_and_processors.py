"""What the journal promises below Python: order of stores on every processor, and the disk within seconds."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.journal import keeper, segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Counted:
    """A lock that counts how often it was taken."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.taken = 0

    def acquire(self) -> bool:
        self.taken += 1
        return self.lock.acquire()

    def release(self) -> None:
        self.lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def test_where_stores_may_be_reordered_writer_and_reader_take_the_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fence = Counted()
    monkeypatch.setattr(segment, "FENCE", fence)
    run = mlrun.init(project="p")
    run.log({"a": 1.0})  # makes the key known: the slow way
    before = fence.taken
    run.log({"a": 2.0})
    assert fence.taken > before
    before = fence.taken
    assert mlrun.metrics(run.id)["value"].to_list() == [1.0, 2.0]
    assert fence.taken > before
    assert not fence.lock.locked()


def test_a_child_forked_while_the_fence_is_held_can_log(python: Callable[..., Any]) -> None:
    done = python("""
        import os, signal, threading, warnings
        from mlrun.journal import segment
        segment.FENCE = threading.Lock()
        import mlrun
        warnings.simplefilter("ignore", DeprecationWarning)
        run = mlrun.init(project="p", id="r")
        run.log({"parent": 1.0})
        segment.FENCE.acquire()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            run.log({"child": 1.0})
            run.finish()
            os._exit(0)
        segment.FENCE.release()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert done.stdout == "0\n"
    assert mlrun.get_run("r").summary == {"child": 1.0, "parent": 1.0}


def test_the_background_brings_points_and_records_to_the_disk_without_a_flush(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    really = keeper._sync_fd

    def sync(fd: int) -> None:
        really(fd)
        synced.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(keeper, "_sync_fd", sync)
    run = mlrun.init(project="p")
    run.log({"a": 1.0})
    run.log_result("r", 1)
    files = [p for p in (own_folder / ".mlrun").rglob("w-*/*") if p.suffix in (".seg", ".rec")]
    # the first of each: a spare may lie behind it
    wanted = {min(p for p in files if p.suffix == s).stat().st_ino for s in (".seg", ".rec")}
    for _ in range(1200):
        if wanted <= synced:
            return
        time.sleep(0.05)
    pytest.fail("a minute has gone by, and the disk has not been asked")
