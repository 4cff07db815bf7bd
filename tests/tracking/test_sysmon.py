from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.config import Settings
from mlrun.tracking import sysmon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Recorder:
    def __init__(self, *, fail: bool = False) -> None:
        self.fail = fail
        self.calls = 0
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log(self, data: dict[str, Any], step: int, /) -> bool:
        self.calls += 1
        if self.fail:
            raise OSError("disk full")
        self.rows.append((step, data))
        return True


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


@pytest.fixture
def monitor() -> Iterator[sysmon.SystemMonitor]:
    assert until(lambda: threads() == 0)  # those of earlier tests
    monitor = sysmon.SystemMonitor(0.1)
    yield monitor
    monitor.stop()


def threads() -> int:
    return sum(t.name == "mlrun-sysmon" for t in threading.enumerate())


def test_samples_reach_every_channel_until_it_is_detached(monitor: sysmon.SystemMonitor) -> None:
    one, two = Recorder(), Recorder()
    monitor.attach(one)
    monitor.attach(one)
    monitor.attach(two)
    assert until(lambda: len(one.rows) >= 2 and len(two.rows) >= 2)
    assert threads() == 1
    monitor.detach(one)
    seen, before = len(one.rows), len(two.rows)
    assert until(lambda: len(two.rows) >= before + 3)
    assert len(one.rows) <= seen + 1  # one may have been under way
    step, data = two.rows[-1]
    assert abs(step - time.time()) < 60
    assert {"cpu/percent", "memory/percent", "memory/used_bytes", "process/memory_bytes"} <= set(
        data
    )
    assert all(type(v) is float and type(k) is str for k, v in data.items())
    assert data["process/memory_bytes"] > 1e6
    assert 0 <= data["memory/percent"] <= 100


def test_failing_channel_neither_raises_nor_stops_the_others(monitor: sysmon.SystemMonitor) -> None:
    bad, good = Recorder(fail=True), Recorder()
    monitor.attach(bad)
    monitor.attach(good)
    assert until(lambda: len(good.rows) >= 2 and bad.calls >= 2)


def test_thread_ends_when_nobody_listens_and_starts_again(monitor: sysmon.SystemMonitor) -> None:
    channel = Recorder()
    monitor.attach(channel)
    assert until(lambda: bool(channel.rows))
    monitor.detach(channel)
    assert until(lambda: threads() == 0)
    again = Recorder()
    monitor.attach(again)
    assert until(lambda: bool(again.rows))
    monitor.stop()
    assert until(lambda: threads() == 0)


def test_rates_are_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sysmon.Sampler()
    clock = iter([10.0, 12.0, 13.0])
    monkeypatch.setattr(sysmon, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    out: dict[str, float] = {}
    sampler._rate(out, "x", 1_000.0)
    assert out == {}
    sampler._rate(out, "x", 3_000.0)
    assert out == {"x": 1_000.0}
    sampler._rate(out, "x", 0.0)  # the counter was reset
    assert out == {"x": 0.0}


def test_hidden_counters_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sysmon.Sampler()

    def denied(*_: object, **__: object) -> None:
        raise PermissionError("hidden in this container")

    monkeypatch.setattr(sampler._psutil, "disk_usage", denied)
    monkeypatch.setattr(sampler._psutil, "virtual_memory", denied)
    data = sampler.sample()
    assert "cpu/percent" in data
    assert not {"memory/percent", "disk/used_percent"} & set(data)


def test_without_psutil_nothing_is_sampled_and_nothing_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert sysmon.Sampler().sample() == {}


def test_one_monitor_a_process_follows_the_settings() -> None:
    first = sysmon.start(Settings(system_interval=30))
    second = sysmon.start(Settings(system_interval=7))
    assert first is second
    assert first.interval == 7
    first.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_samples_only_its_own_channels() -> None:
    code = """
import os, sys, threading, time
from mlrun.tracking import sysmon
from mlrun.config import Settings
class Channel:
    def __init__(self): self.rows = 0
    def log(self, data, step):
        self.rows += 1
        return True
def until(true):
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end: time.sleep(0.02)
    return true()
parents, own = Channel(), Channel()
monitor = sysmon.start(Settings(system_interval=0.1))
monitor.attach(parents)
assert until(lambda: parents.rows)
pid = os.fork()
if pid == 0:
    inherited = parents.rows
    same = sysmon.start(Settings(system_interval=0.1))
    same.attach(own)
    ok = until(lambda: own.rows >= 2) and parents.rows == inherited
    os._exit(0 if ok else 1)
before = parents.rows
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert until(lambda: parents.rows > before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr


def test_importing_loads_no_psutil() -> None:
    code = "import sys, mlrun.tracking.sysmon; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
