"""`mlrun scheduler`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.cli.root import run as command

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.store import Store


@pytest.fixture
def scheduled(tmp_path: Path) -> Store:
    """A store with one schedule that never falls due."""
    store = mlrun.open_store(tmp_path / "store")
    code = tmp_path / "job.py"
    code.write_text("def main(x):\n    if x > 1:\n        raise ValueError('boom')\n    return x\n")
    for x in (1, 2):
        function = mlrun.new_function(f"job{x}", project="p", command=str(code), handler="main")
        function.run(schedule="0 0 29 2 *", params={"x": x}, store=store)
    return store


def call(store: Store, *words: str) -> int:
    return command(["--store", store.url, "scheduler", *words])


def test_it_is_among_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    command(["--help"])
    assert "scheduler" in capsys.readouterr().out


def test_schedules_are_listed(scheduled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(scheduled, "--list", "--json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [(r["project"], r["name"], r["cron"]) for r in rows] == [
        ("p", "job1", "0 0 29 2 *"), ("p", "job2", "0 0 29 2 *"),
    ]  # fmt: skip


def test_one_is_run_now(scheduled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(scheduled, "--invoke", "p/job1") == 0
    run_id = capsys.readouterr().out.strip()
    assert mlrun.get_run(run_id, store=scheduled).state == "completed"
    assert call(scheduled, "--invoke", "p/job2") == 1
    assert "boom" in capsys.readouterr().err


def test_one_is_deleted(scheduled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(scheduled, "--delete", "p/job1") == 0
    assert call(scheduled, "--delete", "p/job1") == 3
    assert "no schedule 'job1'" in capsys.readouterr().err
    assert call(scheduled, "--delete", "job2") == 2


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGINT])
def test_its_process_keeps_the_clock_until_it_is_ended(scheduled: Store, word: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mlrun.cli", "--store", scheduled.url, "scheduler"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(3)]
    assert "keeping the schedules" in said[0]
    assert "schedule p/job1: next at" in said[1]
    process.send_signal(word)
    process.communicate(timeout=60)
    assert process.returncode == 0
