"""Requirements that a worker of this host does not have: an environment beside the driver's, made once and kept.

Ray's own way to install requirements copies the whole environment of a driver that runs in one, which takes a minute.
Here a small one is made that sees the driver's packages and has the others on top. It is made where the work runs, by a
task or at the head of a job, so that nobody waits for it in `submit`.
`python -m mlrun.executors.ray_packages INTERPRETER NAME…` makes it from a shell.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.advisorylock import FileLock
from mlrun.errors import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["install", "python_with"]


def python_with(requirements: Sequence[str]) -> str:
    """Return the path that the interpreter with these requirements has, or will have."""
    return str(_folder(requirements) / "bin" / "python")


def install(requirements: Sequence[str], python: str = "") -> str:
    """Make the environment, unless it is there; returns its interpreter.

    Args:
        requirements: what it has on top.
        python: the interpreter's path, as `python_with` says it in the driver: a worker may have other variables.

    Raises:
        ExecutorError: they cannot be installed; the message has what pip said.
    """
    python = python or python_with(requirements)
    folder = Path(python).parents[1]
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _make(folder, requirements)
            except BaseException:
                _leave_plain(folder)
                raise
            (folder / "complete").touch()
    return python


def _folder(requirements: Sequence[str]) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    what = "\n".join([sys.prefix, sys.version, *sorted(requirements)])
    return base / "mlrun" / "packages" / hashlib.sha256(what.encode()).hexdigest()[:24]


def _make(folder: Path, requirements: Sequence[str]) -> None:
    _call([sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update", str(folder)])
    (site,) = folder.glob("lib/python*/site-packages")
    here = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    # a line that begins with `import` runs: the driver's own .pth files (editable installations) are read too
    lines = [f"import site; site.addsitedir({path!r})" for path in here]
    (site / "driver.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    python = str(folder / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    _call([python, "-m", "pip", "install", *quiet, "--", *requirements])


def _leave_plain(folder: Path) -> None:
    """Have the driver's Python in its place: Ray tells the failure through a worker, and waits until one comes."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o700)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        errors = [line for line in said if line.startswith("ERROR")] or said[-3:]
        raise ExecutorError(f"its requirements cannot be installed: {' '.join(errors)}")


def main() -> int:
    """Make the environment of the interpreter and requirements on the command line; returns the exit code."""
    try:
        install(sys.argv[2:], sys.argv[1])
    except ExecutorError as error:
        print(f"ExecutorError: {error}", file=sys.stderr)  # noqa: T201 - a command says what failed
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
