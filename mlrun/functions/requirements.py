"""Pip requirements, from a list or from a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["missing_requirements", "read_requirements"]

_DEEPEST = 10


def read_requirements(
    given: str | Iterable[str] | os.PathLike[str] | None, folder: str = "", root: Path | None = None
) -> list[str]:
    """Return requirements.

    Args:
        given: a list of them, one alone, or the path of a file with one a line; `-r other.txt` in it is followed.
        folder: what a relative path means.
        root: a folder that files must lie in; None for no bound.

    Raises:
        ConfigError: there is no such file, or it holds an option of pip: those are settings of the place.
    """
    if not given:
        return []
    if isinstance(given, os.PathLike) or (
        isinstance(given, str) and given.endswith((".txt", ".in"))
    ):
        return _from_file(Path(folder, given), root, _DEEPEST)
    if isinstance(given, str):
        return [_checked(given, "requirements")]
    return [_checked(str(line), "requirements") for line in given]


def _from_file(path: Path, root: Path | None, depth: int) -> list[str]:
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"refused the requirements in {path.name}: they lead out of the project")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the requirements in {path.name}: {reason}") from error
    out: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        word = line.partition(" #")[0].strip()
        if not word or word.startswith("#"):
            continue
        if word.startswith(("-r ", "--requirement ")) and depth:
            out += _from_file(path.parent / word.split(maxsplit=1)[1], root, depth - 1)
        else:
            out.append(_checked(word, path.name))
    return out


def _checked(line: str, where: str) -> str:
    word = line.strip()
    if not word or word.startswith("-"):
        raise ConfigError(
            f"{where}: {word!r} is an option of pip, not a requirement: set it where the function runs"
        )
    return word


def missing_requirements(requirements: Iterable[str]) -> list[str]:
    """Return those that this Python does not have, or has in another version than they allow.

    What cannot be read as a requirement (a path, a URL alone) is not judged, nor is one whose marker speaks of another
    platform or Python.
    """
    return [r for r in requirements if not _is_met(r)]


def _is_met(requirement: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:  # without it, versions are not compared
        return _is_there(requirement)
    try:
        asked = Requirement(requirement)
    except InvalidRequirement:
        return True
    if asked.marker is not None and not asked.marker.evaluate():
        return True
    try:
        found = version(asked.name)
    except PackageNotFoundError:
        return False
    return asked.url is not None or asked.specifier.contains(found, prereleases=True)


def _is_there(requirement: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*(?![\w+:/])", requirement.strip())
    try:
        return match is None or bool(version(match[0]))
    except PackageNotFoundError:
        return False
