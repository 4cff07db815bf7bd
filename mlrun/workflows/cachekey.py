"""What makes two runs of a step the same: the function's version, its parameters, the contents of its inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.dataitem import DataItem, find_artifact
from mlrun.content.references import is_url, local_path
from mlrun.errors import MlrunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.tracking.run import Run

__all__ = ["cache_key"]

_CHUNK = 1 << 20
_TELLING = ("handler", "returns", "hyperparams", "hyper_param_options")
_LEFT_OUT = frozenset({".git", ".mlrun", "__pycache__", ".venv"})  # of a folder of code


def cache_key(
    function: Any,
    params: Mapping[str, Any],
    inputs: Mapping[str, Any],
    options: Mapping[str, Any],
    run: Run,
) -> str | None:
    """Return the key of a step about to run: 64 hex digits, or None for one that cannot be told from others.

    An artifact counts by its exact version, a file or folder by its bytes, a URL by its text (not by what is behind
    it). A folder of code that comes with the function counts by its bytes, too. A value in memory without a JSON form
    makes the step different from every other.
    """
    try:
        parts = {
            "function": _version(function),
            "params": params,
            "inputs": {k: _identity(v, run) for k, v in inputs.items()},
            "options": {k: v for k in _TELLING if (v := options.get(k))},
        }
        text = json.dumps(parts, sort_keys=True, default=_plain)
    except (TypeError, ValueError, OSError, MlrunError):
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(type(value).__name__)


def _version(function: Any) -> dict[str, str]:
    from mlrun.functions.callables import module_digest
    from mlrun.functions.hashing import content_hash
    from mlrun.functions.needing import source_place

    found = {"hash": content_hash(function.spec)}
    code, source = function.spec.code, source_place(function.spec)
    if source and Path(source).exists():
        found["source"] = _bytes_of(Path(source))
    if code.get("kind") == "command" and (path := Path(str(code.get("path")))).is_file():
        found["command"] = _bytes_of(path)
    if code.get("kind") == "module":
        found["module"] = module_digest(str(code.get("name")))
    return found


def _identity(value: Any, run: Run) -> Any:
    if isinstance(value, DataItem):
        if not value.sha256:
            raise TypeError("an item without a digest")
        return value.sha256
    if isinstance(value, os.PathLike):
        return _bytes_of(Path(value))
    if not isinstance(value, str):
        return value
    if value.startswith("store://"):
        return find_artifact(run.store, value, run.project).uri
    if is_url(value):
        return value
    path = Path(local_path(value)).expanduser()
    return _bytes_of(path) if path.exists() else find_artifact(run.store, value, run.project).uri


def _bytes_of(path: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(path):
        if file != path:
            name = file.relative_to(path).as_posix().encode("utf-8", "surrogateescape")
            digest.update(len(name).to_bytes(8, "big") + name)
        digest.update(file.stat().st_size.to_bytes(8, "big"))
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = []
    for folder, names, files in os.walk(path):
        names[:] = sorted(n for n in names if n not in _LEFT_OUT)
        found += [f for n in sorted(files) if (f := Path(folder, n)).is_file()]
    return found
