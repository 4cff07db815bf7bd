"""Requirements that are not there are installed beside the driver's packages."""

from __future__ import annotations

import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from mlrun.errors import ExecutorError
from mlrun.executors.ray_packages import install, python_with

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "mlrun_t_pkg-1-py3-none-any.whl"
    info = "mlrun_t_pkg-1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mlrun_t_pkg.py", "WHAT = 5\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: mlrun-t-pkg\nVersion: 1\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"mlrun_t_pkg.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    return f"mlrun-t-pkg @ file://{path}"


def test_the_environment_has_the_requirement_and_what_the_driver_has(wheel: str) -> None:
    python = install([wheel])
    assert python == python_with([wheel])
    code = "import mlrun, mlrun_t_pkg, numpy; print(mlrun_t_pkg.WHAT)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "5\n", done.stderr
    assert install([wheel]) == python


def test_the_driver_says_where_it_is(wheel: str, tmp_path: Path) -> None:
    place = str(tmp_path / "elsewhere" / "bin" / "python")
    assert install([wheel], place) == place
    done = subprocess.run([place, "-c", "import mlrun_t_pkg"], check=False)
    assert done.returncode == 0


def test_what_cannot_be_installed_says_so_and_leaves_an_interpreter(
    tmp_path: Path, wheel: str
) -> None:
    absent = f"mlrun-t-none @ file://{tmp_path}/none-1-py3-none-any.whl"
    with pytest.raises(ExecutorError, match=r"cannot be installed: ERROR.*none-1"):
        install([absent])
    done = subprocess.run([python_with([absent]), "-c", "import mlrun"], check=False)
    assert done.returncode == 0
