"""Which objects the records refer to: artifacts, the files of folder artifacts, package lists of runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.content import folders
from mlrun.errors import MlrunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlrun.contracts import Objects

__all__ = ["objects_of_artifact", "objects_of_run", "referenced"]

_INSIDE = "objects/"


def referenced(
    artifacts: Iterable[Mapping[str, Any]],
    runs: Iterable[Mapping[str, Any]],
    objects: Objects,
    *,
    strict: bool = False,
) -> dict[str, str]:
    """Return SHA-256 -> who refers to it, for rows of ARTIFACTS and RUNS.

    Args:
        artifacts: rows of ARTIFACTS.
        runs: rows of RUNS.
        objects: where folder artifacts have their lists of files.
        strict: raise when such a list cannot be read, instead of knowing only the list itself.
    """
    found: dict[str, str] = {}
    for row in artifacts:
        owner = f"artifact {row['project']}/{row['key']}:v{row['version']}"
        for sha256 in objects_of_artifact(row, objects, strict=strict):
            found.setdefault(sha256, owner)
    for row in runs:
        for sha256 in objects_of_run(row):
            found.setdefault(sha256, f"run {row['run_id']}")
    return found


def objects_of_artifact(
    row: Mapping[str, Any], objects: Objects, *, strict: bool = False
) -> Iterator[str]:
    """Yield the objects of one artifact version; of a folder whose manifest cannot be read, only the manifest.

    Raises:
        MlrunError, OSError: `strict`, and the manifest cannot be read.
    """
    sha256 = row.get("sha256")
    if not sha256 or not str(row.get("uri") or "").startswith(_INSIDE):
        return  # a URL, or bytes that could not be stored
    yield str(sha256)
    if _json(row.get("meta")).get("format") != folders.FORMAT:
        return
    try:
        with objects.open(str(sha256)) as manifest:
            entries = folders.members(manifest)
    except (MlrunError, OSError):
        if strict:
            raise
        return  # told by whoever reads the manifest itself
    for entry in entries:
        yield str(entry["sha256"])


def objects_of_run(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the objects that a run's provenance names."""
    packages = _json(row.get("provenance")).get("packages")
    if isinstance(packages, dict) and isinstance(packages.get("sha256"), str):
        yield packages["sha256"]


def _json(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (TypeError, ValueError):
        return {}  # a damaged description names no further object
    return value if isinstance(value, dict) else {}
