from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from mlrun.execution.codefolder import unpack_code

ROOT = Path(__file__).parents[2]
CODE = """
import sys, time
from mlrun.execution.codefolder import unpack_code

print(unpack_code(open(sys.argv[1], "rb").read()), flush=True)
if sys.argv[2] == "wait":
    time.sleep(300)
"""


@pytest.fixture
def archive() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("pkg/train.py", "x = 1\n")
    return held.getvalue()


def start(archive: bytes, how: str) -> tuple[subprocess.Popen[str], Path]:
    Path("code.zip").write_bytes(archive)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": tempfile.gettempdir()}
    child = subprocess.Popen(
        [sys.executable, "-c", CODE, "code.zip", how], env=env, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def test_folders_go_with_their_processes_however_those_end(
    tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    (living, kept), (killed, left) = start(archive, "wait"), start(archive, "wait")
    ended, gone = start(archive, "end")
    ended.communicate(timeout=60)
    assert not gone.exists()
    killed.kill()
    killed.communicate()
    assert (left / "pkg" / "train.py").exists()
    own = Path(unpack_code(archive))
    assert (own / "pkg" / "train.py").read_text() == "x = 1\n"
    assert not left.exists()
    assert (kept / "pkg" / "train.py").exists()
    living.kill()
    living.communicate()
    unpack_code(archive)
    names = {path.name for path in place.iterdir()}
    assert len(names) == 4  # this process's two, with their locks
    assert own.name in names
