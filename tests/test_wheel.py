"""The wheel: only `mlrun` on the path, every module in it, and no quarrel with a user's own files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("mlrun", "storage", "executors", "app", "pyproject.toml", "README.md", "LICENSE")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it, built from a copy of the tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds the wheel and nothing else.

    A pure wheel is installed by unpacking it; that way the test needs neither pip nor an index.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = next(folder.glob("bin/python"), None) or folder / "Scripts" / "python.exe"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(purelib)
    return python


def modules(names: list[str]) -> set[str]:
    return {name for name in names if name.endswith((".py", "py.typed"))}


def on_disk() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for folder in PARTS[:4]
        for path in (ROOT / folder).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }


def test_wheel_holds_every_module_under_one_name(built: Path) -> None:
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"mlrun"}
    as_installed = {n if n.startswith("mlrun/") else f"mlrun/{n}" for n in on_disk()}
    assert modules(names) == as_installed


def test_sdist_holds_what_the_wheel_is_made_of(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert on_disk() | {"pyproject.toml", "README.md", "LICENSE"} <= names


SCRIPT = """
import mlrun, mlrun.app, mlrun.executors, mlrun.storage, pathlib, sys
import app, executors, storage, tests, bench
here = pathlib.Path(__file__).parent
for mine in (app, executors, storage, tests, bench):
    assert mine.MINE and pathlib.Path(mine.__file__).parent == here, mine
for ours in (mlrun.app, mlrun.executors, mlrun.storage):
    assert pathlib.Path(ours.__file__).parent.parent != here, ours
print(mlrun.__version__)
"""


@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_own_files_of_the_same_names_do_not_quarrel(
    how: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python = request.getfixturevalue("installed") if how == "wheel" else sys.executable
    for name in ("app", "executors", "storage", "tests", "bench"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n", encoding="utf-8")
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [python, script], env={}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0.1.0"


def test_installation_tells_its_command_and_its_doors(installed: Path) -> None:
    code = """
from importlib.metadata import entry_points, version
from importlib.util import find_spec
doors = [*entry_points(group="mlrun.storages"), *entry_points(group="mlrun.executors")]
assert {"delta", "file", "sqlite"} <= {door.name for door in doors}
missing = [door.value for door in doors if find_spec(door.module) is None]
assert not missing, missing
(command,) = entry_points(group="console_scripts", name="mlrun")
assert find_spec(command.module), command
print(version("mlrun-arrow"))
"""
    done = subprocess.run([installed, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0.1.0"
