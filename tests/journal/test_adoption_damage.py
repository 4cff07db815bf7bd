"""What a dead writer's files have lost is told when they are adopted, and for ever after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import mlrun
from mlrun.care.doctor import examine
from mlrun.journal.absorb import absorb
from mlrun.journal.aside import FOLDER
from mlrun.journal.slots import adopt
from mlrun.journal.snapshot import read_journal
from mlrun.journal.verify import verify_journal
from mlrun.notices import MlrunWarning
from mlrun.store import open_store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills")

_LOG = """
import os, mlrun
run = mlrun.init("p", id="r", console=False, system_metrics=False, git=False)
for step in range(500):
    run.log({"a": float(step)}, step)
print("logged", flush=True)
os.read(0, 1)
"""


def killed(*cut: int) -> Path:
    """Return the segment of a writer that was killed, cut off at so many bytes."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _LOG], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"logged\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [path] = open_store().journal.glob("w-*/*.seg")
    for size in cut:
        os.truncate(path, size)
    return path


def absorbed() -> list[str]:
    """Absorb, and return what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        absorb(open_store(), wait=True)
    return [str(w.message) for w in caught if w.category is MlrunWarning]


@pytest.mark.parametrize("lost", [1, 500])
def test_points_that_were_cut_off_before_the_seal_are_told_after_it(lost: int) -> None:
    whole = killed()
    capacity = (whole.stat().st_size - 4096) // 32
    os.truncate(whole, whole.stat().st_size - (capacity - 500 + lost) * 8)
    for _ in range(2):  # the adopter that sealed it may be killed before it says anything
        with adopt(whole.parent) as adoption:
            assert adoption is not None
            assert [f.what for f in adoption.findings] == [f"cut off: {lost} points are lost"]
    [finding] = read_journal(open_store().journal).findings
    assert (finding.severity, finding.what) == ("lost", f"cut off: {lost} points are missing")
    assert "lost" in {f.severity for f in verify_journal(open_store().journal)}
    assert [m for m in absorbed() if f"cut off: {lost} points" in m]
    assert (open_store().journal / FOLDER / f"{whole.parent.name}-{whole.name}").exists()
    assert [f for f in examine(open_store()) if f.severity == "lost" and whole.name in f.where]
    assert mlrun.metrics("r").height == 500 - lost


def test_a_segment_whose_content_is_gone_is_kept_and_told() -> None:
    path = killed(0, 65536)
    assert [m for m in absorbed() if "it is empty, but points were written to it" in m]
    assert not path.exists()
    kept = sorted(p.name for p in (open_store().journal / FOLDER).iterdir())
    assert kept == [f"{path.parent.name}-{path.stem}{kind}" for kind in (".dict", ".seg")]
    assert {f.severity for f in examine(open_store())} & {"lost"}


def test_a_sound_one_says_nothing() -> None:
    path = killed()
    with adopt(path.parent) as adoption:
        assert adoption is not None
        assert adoption.findings == []
    assert absorbed() == []
    assert mlrun.metrics("r").height == 500
