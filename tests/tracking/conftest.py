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

from mlrun.journal.snapshot import read_journal
from mlrun.notices import MlrunWarning
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def points() -> Callable[..., list[tuple[str, int, float]]]:
    """Read (key, step, value) of a run's points, in the order of writing."""

    def read(run_id: str, table: str = "metrics") -> list[tuple[str, int, float]]:
        rows = read_journal(open_store().journal).points(table, after={}, run_ids=[run_id])
        found = rows.select(["key", "step", "value"]).to_pylist()
        return [(r["key"], r["step"], r["value"]) for r in found]

    return read


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
def python(own_folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in a process of its own, in the test's folder."""

    def run(script: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = own_folder / "script.py"
        path.write_text(textwrap.dedent(script), encoding="utf-8")
        return subprocess.run(
            [sys.executable, *options, str(path)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
