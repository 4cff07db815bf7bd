"""What makes two runs of a step the same: the function's version, its parameters, the contents of its inputs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.dataitem import DataItem, find_artifact
from mlrun.content.references import is_url, local_path
from mlrun.errors import MlrunError

if TYPE_CHECKING:
    from mlrun.store import Store
    from mlrun.workflows.step import Call

__all__ = ["cache_key"]

_CHUNK = 1 << 20


def cache_key(call: Call, params: Any, inputs: Any, store: Store, project: str) -> str | None:
    """Return the key of a step about to run, or None for one that cannot be told from others.

    An artifact counts by its exact version, a file or folder by its bytes, a URL by its text (not by what is behind
    it). A value in memory without a JSON form makes the step different from every other.
    """
    try:
        parts = {
            "function": _version(call.function),
            "params": params,
            "inputs": {k: _identity(v, store, project) for k, v in dict(inputs or {}).items()},
            "options": {k: v for k, v in call.options.items() if k in _TELLING},
        }
        text = json.dumps(parts, sort_keys=True, default=_refuse)
    except (TypeError, ValueError, OSError, MlrunError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()


_TELLING = ("handler", "returns", "hyperparams", "hyper_param_options")


def _refuse(value: Any) -> Any:
    to_dict = getattr(value, "to_dict", None)
    if to_dict is None:
        raise TypeError(type(value).__name__)
    return to_dict()


def _version(function: Any) -> str:
    from mlrun.functions.hashing import content_hash

    return content_hash(function.spec)


def _identity(value: Any, store: Store, project: str) -> Any:
    if isinstance(value, DataItem) and value.sha256:
        return value.sha256
    if isinstance(value, os.PathLike):
        return _bytes_of(Path(value))
    if not isinstance(value, str):
        return value
    if value.startswith("store://"):
        return find_artifact(store, value, project).uri
    if is_url(value):
        return value
    path = Path(local_path(value)).expanduser()
    return _bytes_of(path) if path.exists() else find_artifact(store, value, project).uri


def _bytes_of(path: Path) -> str:
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(f"\0{file.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
