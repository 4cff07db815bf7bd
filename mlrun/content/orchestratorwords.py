"""Options of `log_…` calls by the names that the orchestrator has for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["translated"]

_WORDS = frozenset({"tag", "parameters", "model_file", "model_dir", "algorithm"})


def translated(verb: str, options: dict[str, Any], body: Any = None) -> dict[str, Any]:
    """Return options by the names that are used here.

    `tag` is an alias, `parameters` of a model are `params`, its `algorithm` goes to the metadata. `model_file` in
    `model_dir` is where a model lies; beside a body it only names a file, which nothing here needs.
    """
    if not _WORDS & options.keys():
        return options
    out = {
        k: v for k, v in options.items() if k not in _WORDS or (verb != "log_model" and k != "tag")
    }
    if tag := options.get("tag"):
        given = out.get("aliases") or ()
        out["aliases"] = [*([given] if isinstance(given, str) else given), tag]
    if verb != "log_model":
        return out
    if options.get("parameters") and not out.get("params"):
        out["params"] = options["parameters"]
    if options.get("algorithm"):
        out["metadata"] = {"algorithm": options["algorithm"], **(out.get("metadata") or {})}
    file, folder = options.get("model_file") or "", options.get("model_dir") or ""
    if body is None and not out.get("local_path") and (file or folder):
        out["local_path"] = (
            os.fspath(Path(folder, file))
            if "://" not in str(folder)
            else f"{folder}/{file}".rstrip("/")
        )
    return out
