"""A function's version as text, and what differs between two versions."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from mlrun.redact import redact_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

__all__ = ["code_of", "diff", "grouped", "needs_of"]

_NEEDS = (
    "kind", "handler", "description", "image", "requirements", "resources", "replicas", "env", "secrets",
    "node_selector", "retry", "state_thresholds", "time_limit", "source", "workdir", "labels",
)  # fmt: skip
_NONE: tuple[Any, ...] = (None, "", [], {})


def code_of(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Return the code of a version as text, and its language; the text of what cannot be read says what it is."""
    code = spec.get("code") or {}
    match code.get("kind"):
        case "source":
            name = str(code.get("filename") or "")
            return str(code.get("text") or ""), "json" if name.endswith(".ipynb") else "python"
        case "module":
            return f"import {code.get('name')}", "python"
        case "command":
            said = [str(code.get("path") or ""), *map(str, code.get("args") or [])]
            return " ".join(said), "bash"
        case "pickle":
            return (
                "It is kept as a pickle, which is not opened here: its source was not at hand.",
                "",
            )
    return "No code is stored with it.", ""


def needs_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return what a version is and needs, as text by name; values under secret names are hidden."""
    said = {name: spec[name] for name in _NEEDS if spec.get(name) not in _NONE}
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
        for name, value in redact_mapping(said).items()
    }


def diff(old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, str]) -> str:
    """Return a unified diff of needs and code; empty if both agree.

    Args:
        old: the spec of the earlier version.
        new: the spec of the later one.
        names: how the two are called.
    """
    parts: list[str] = []
    for what, text in (("needs", _needs_text), ("code", lambda spec: code_of(spec)[0])):
        before, after = (text(spec).splitlines() for spec in (old, new))
        first, second = (f"{what} of {name}" for name in names)
        parts += difflib.unified_diff(before, after, first, second, lineterm="", n=4)
    return "\n".join(parts)


def grouped(versions: pl.DataFrame) -> pl.DataFrame:
    """Return one row for a function, the latest changed first: `name, project, kind, handler, versions, changed`."""
    import polars as pl

    newest = versions.sort("created_at", descending=True)
    return (
        newest.group_by("project", "name", maintain_order=True)
        .agg(
            pl.col("kind", "handler", "description").first(),
            pl.len().alias("versions"),
            pl.col("created_at").first().alias("changed"),
        )
        .select("name", "project", "kind", "handler", "versions", "changed", "description")
    )


def _needs_text(spec: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in needs_of(spec).items())
