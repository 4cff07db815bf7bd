from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.notices import MlrunWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def only_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the background unless a test asks for it: what is written is what the test writes."""
    for name in ("CONSOLE", "SYSTEM_METRICS", "GIT"):
        monkeypatch.setenv(f"MLRUN_{name}", "0")


@pytest.fixture
def warned() -> Callable[[], Any]:
    """Collect the messages of our warnings."""

    @contextmanager
    def collect() -> Iterator[list[str]]:
        messages: list[str] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
        messages += [str(w.message) for w in caught if w.category is MlrunWarning]

    return collect


@pytest.fixture
def start(own_folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a script in a process of its own, in the test's folder; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(
        script: str, *arguments: str, before: tuple[str, ...] = (), **env: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-c", textwrap.dedent(script), *arguments],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def python(
    start: Callable[..., subprocess.Popen[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in a process of its own, to its end and to this exit code."""

    def run(
        script: str, *arguments: str, code: int | None = 0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        process = start(script, *arguments, **options)
        out, err = process.communicate(timeout=120)
        assert code is None or process.returncode == code, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def finished() -> Callable[..., str]:
    """Make a finished run; returns its id."""

    def make(name: str = "a", **options: Any) -> str:
        with mlrun.init(**{"project": "p", "name": name, **options}) as run:
            run.log({"loss": 1.0})
        return run.id

    return make
