"""Same runs, same question, same frame: written and asked through a gateway over every mix of engines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.store import close_all
from mlrun.testing.gatewayserver import GatewayServer
from mlrun.testing.suites import load, suite_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = Path(__file__).parents[2] / "tests/promises/test_same_answers.py"
same: Any = load(PATH)
mix = suite_of(PATH)["mix"]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own token is what lets these tests in."""
    monkeypatch.delenv("MLRUN_API_KEY")


def write(url: str, folder: Path) -> None:
    env = {**os.environ, "MLRUN_DBPATH": url, "MLRUN_CONSOLE": "1"}
    subprocess.run(
        [sys.executable, "-c", same._SCRIPT],
        env=env, check=True, capture_output=True, timeout=120, cwd=folder,
    )  # fmt: skip


def answers(dbpath: str) -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLRUN_DBPATH", dbpath)
        yield same._answers()
        close_all()


def compare(mix: dict[str, str], tmp_path: Path, state_folder: Path) -> None:
    same._write(tmp_path / "embedded", {})
    [expected] = answers(str(tmp_path / "embedded"))
    with GatewayServer(
        tmp_path / "s", "--no-flight", state=state_folder, environ=mix, answer_processes=1
    ) as server:
        write(server.url, tmp_path)
        [found] = answers(server.url)
        server.restart()
        [again] = answers(server.url)
    for question, frame in expected.items():
        assert frame.height, question
        same._compare(f"{question!r}", found[question], frame)
        same._compare(f"{question!r}, after a restart", again[question], frame)


def test_a_gateway_over_the_embedded_engines(tmp_path: Path, state_folder: Path) -> None:
    compare({}, tmp_path, state_folder)


def test_a_gateway_over_other_engines(
    mix: dict[str, str], tmp_path: Path, state_folder: Path
) -> None:
    compare(mix, tmp_path, state_folder)
