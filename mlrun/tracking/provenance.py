"""Where a run came from: code, command line, machine and packages. Gathered in the background; secrets are hidden."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.redact import redact_argv, redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.config import Settings

__all__ = ["gather", "git", "packages"]

_MAX_ARGUMENT = 2_000
_MAX_ARGUMENTS = 1_000


def gather(settings: Settings, *, timeout: float = 5.0) -> dict[str, Any]:
    """Return what is known of the process, as JSON-able values; what cannot be found out is left out.

    Keys: `command` (list, secrets hidden), `executable`, `script`, `cwd`, `python`, `platform`, `host`, `user`, `pid`,
    `cpu_count`, `memory_bytes`, `gpus` (list of name and memory_bytes), `git` (commit, branch, dirty, remote, root) and
    `packages` (see `packages()`; long, so that the caller takes it out and stores it once).

    Never raises. Costs tens of milliseconds in other processes and a few in this one; made for a background thread.

    Args:
        settings: `git=False` leaves the repository alone.
        timeout: seconds that each call of git may take.
    """
    facts: dict[str, Callable[[], Any]] = {
        "command": _command,
        "executable": lambda: os.path.basename(sys.executable),
        "script": _script,
        "cwd": os.getcwd,
        "python": lambda: sys.version.split()[0],
        "platform": _platform,
        "host": _host,
        "user": getpass.getuser,
        "pid": os.getpid,
        "cpu_count": os.cpu_count,
        "memory_bytes": _memory_bytes,
        "gpus": _gpus,
        "packages": packages,
    }
    if settings.git:
        facts["git"] = lambda: git(timeout=timeout)
    out: dict[str, Any] = {}
    for name, find in facts.items():
        try:
            value = find()
        except Exception:  # noqa: BLE001 - a fact that this machine does not tell is left out
            continue
        if value not in (None, "", [], {}):
            out[name] = _text_safe(value)
    return out


def git(folder: Path | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
    """Return commit, branch, dirty, remote and root of the repository; empty when there is none, or no git.

    Without `folder`, the repository of the main script counts, else that of the working directory. `dirty` means that a
    tracked file differs from the commit. Nothing in the repository is locked, and none of its hooks runs.
    """
    for place in [folder] if folder else _code_folders():
        root = _git(place, ["rev-parse", "--show-toplevel"], timeout)
        if root is None:
            continue
        out: dict[str, Any] = {"root": root.strip()}
        out |= _git_state(place, timeout)
        if remote := _git_remote(place, timeout):
            out["remote"] = redact_url(remote)
        return out
    return {}


@cache
def packages() -> list[str]:
    """Return what is installed, as sorted `name==version` with normalized names; found once a process.

    Read from the names of the metadata folders on `sys.path`: a hundred times less work for the interpreter (and for a
    training loop that shares it) than parsing the metadata of every distribution.
    """
    found: dict[str, str] = {}
    for entry in sys.path:
        try:
            names = os.listdir(entry or ".")
        except OSError:
            continue  # a zip archive, or a folder that is gone
        for name in names:
            if pair := _distribution(entry, name):
                found.setdefault(*pair)  # the first on the path is what an import finds
    return sorted(f"{name}=={version}" for name, version in found.items())


def _distribution(folder: str, name: str) -> tuple[str, str] | None:
    stem, extension = os.path.splitext(name)
    if extension not in {".dist-info", ".egg-info"}:
        return None
    project, _, version = stem.partition("-")
    if not version:
        version = _version_inside(Path(folder, name))
    # an egg's version goes on with the Python it was built for
    version = re.sub(r"-py\d[\d.]*.*$", "", version) if extension == ".egg-info" else version
    if not project or project.startswith("~"):
        return None  # pip renames what it is removing to `~…`
    return re.sub(r"[-_.]+", "-", project).lower(), version


def _version_inside(info: Path) -> str:
    for name in ("METADATA", "PKG-INFO"):
        try:
            with open(info / name, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if line.startswith("Version:"):
                        return line.partition(":")[2].strip()
        except OSError:
            continue  # the other kind of metadata, or none
    return ""


def _command() -> list[str]:
    argv = list(getattr(sys, "orig_argv", None) or sys.argv)
    argv[0] = os.path.basename(argv[0]) if argv else ""
    shown = redact_argv(argv[:_MAX_ARGUMENTS])
    return [a if len(a) <= _MAX_ARGUMENT else a[:_MAX_ARGUMENT] + "…" for a in shown]


def _main_file() -> Path | None:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(path).absolute() if path else None


def _script() -> str | None:
    path = _main_file()
    return redact_text(str(path)) if path else None


def _code_folders() -> Iterator[Path]:
    script = _main_file()
    # a console script (`torchrun`, `pytest`) is not the user's code
    if (
        script
        and not script.is_relative_to(sys.prefix)
        and not script.is_relative_to(sys.base_prefix)
    ):
        yield script.parent
    yield Path.cwd()


def _platform() -> str:
    # platform.platform() starts a process for the processor's name
    name = os.uname()
    return f"{name.sysname} {name.release} {name.machine}"


def _host() -> str:
    return os.uname().nodename


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[dict[str, Any]]:
    from mlrun.tracking.gpu import gpus

    return [{"name": g.name, "memory_bytes": g.memory_bytes} for g in gpus()]


def _git_state(folder: Path, timeout: float) -> dict[str, Any]:
    arguments = [
        "status",
        "--porcelain=v2",
        "--branch",
        "--untracked-files=no",
        "--ignore-submodules=dirty",
    ]
    status = _git(folder, arguments, timeout)
    if status is None:  # a huge tree, too slow to compare: the commit is still worth having
        commit = _git(folder, ["rev-parse", "HEAD"], timeout)
        return {"commit": commit.strip()} if commit else {}
    out: dict[str, Any] = {"dirty": False}
    for line in status.splitlines():
        if line.startswith("# branch.oid ") and "(initial)" not in line:
            out["commit"] = line.rsplit(" ", 1)[1]
        elif line.startswith("# branch.head ") and "(detached)" not in line:
            out["branch"] = line.removeprefix("# branch.head ")
        elif line and not line.startswith("#"):
            out["dirty"] = True
    return out


def _git_remote(folder: Path, timeout: float) -> str:
    lines = (
        _git(folder, ["config", "--get-regexp", r"^remote\..*\.url$"], timeout) or ""
    ).splitlines()
    urls = {key: url for key, _, url in (line.partition(" ") for line in lines)}
    return urls.get("remote.origin.url") or next(iter(urls.values()), "")


def _git(folder: Path, arguments: list[str], timeout: float) -> str | None:
    """Output of one git command, or None when it fails, is not there, or takes too long."""
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **quiet},
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _text_safe(value: Any) -> Any:
    """Make text encodable: arguments and paths may hold lone surrogates for undecodable bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_text_safe(v) for v in value]
    if isinstance(value, dict):
        return {k: _text_safe(v) for k, v in value.items()}
    return value
