"""ProjectDocument: what `project.yaml` holds. What this version does not know stays, and so does the order of keys."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError
from mlrun.functions.spec import read_yaml, write_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FILE", "ProjectDocument"]

FILE = "project.yaml"

_MAPPINGS = ("params", "secrets", "default_function_node_selector")
_LISTS = ("functions", "workflows", "artifacts", "default_requirements")


class ProjectDocument:
    """A document, `{"kind": "project", "metadata": {…}, "spec": {…}}`, and its parts.

    Raises:
        ConfigError: a part is not what it should be; the message names it.
    """

    def __init__(self, given: Mapping[str, Any] | None = None, name: str = "") -> None:
        self._whole: dict[str, Any] = copy.deepcopy(dict(given or {}))
        self._whole.setdefault("kind", "project")
        for part in ("metadata", "spec"):
            self._whole[part] = _mapping(self._whole.get(part), part)
        self._whole.pop("status", None)
        if name:
            self.metadata["name"] = name
        if self._whole["kind"] != "project":
            raise ConfigError(f"this is a {self._whole['kind']!r}, not a project")
        if not str(self.metadata.get("name") or ""):
            raise ConfigError("a project needs a name: metadata.name is empty")
        self._empty = {key for key, value in self.spec.items() if not value}
        for key in _MAPPINGS:
            self.spec[key] = _mapping(self.spec.get(key), f"spec.{key}")
        for key in _LISTS:
            self.spec[key] = _list(self.spec.get(key), f"spec.{key}")
        for key in ("functions", "workflows", "artifacts"):
            for entry in self.spec[key]:
                _mapping(entry, f"an entry of spec.{key}")

    @classmethod
    def read(cls, path: Path) -> ProjectDocument:
        """Read a file."""
        return cls(read_yaml(path))

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, labels and what else is said of the project."""
        found: dict[str, Any] = self._whole["metadata"]
        return found

    @property
    def spec(self) -> dict[str, Any]:
        """What it consists of."""
        found: dict[str, Any] = self._whole["spec"]
        return found

    def text(self, key: str) -> str:
        """Return a part of the spec that is text; empty if it is not there."""
        return str(self.spec.get(key) or "")

    def entry(self, key: str, name: str, by: str = "name") -> dict[str, Any] | None:
        """Return the entry of that name in a list of the spec."""
        for found in self.spec[key]:
            if found.get(by) == name:
                entry: dict[str, Any] = found
                return entry
        return None

    def put_entry(self, key: str, entry: dict[str, Any], by: str = "name") -> None:
        """Put an entry into a list of the spec, in the place of the one with its name."""
        entries = self.spec[key]
        for at, found in enumerate(entries):
            if found.get(by) == entry[by]:
                entries[at] = entry
                return
        entries.append(entry)

    def drop_entry(self, key: str, name: str, by: str = "name") -> bool:
        """Take an entry out of a list of the spec; False if there is none."""
        before = len(self.spec[key])
        self.spec[key] = [found for found in self.spec[key] if found.get(by) != name]
        return len(self.spec[key]) < before

    def to_dict(self) -> dict[str, Any]:
        """Return a copy without the parts that are empty, unless they were empty when it was read."""
        whole = copy.deepcopy(self._whole)
        whole["spec"] = {
            k: v
            for k, v in whole["spec"].items()
            if v not in ({}, [], "", None) or k in self._empty
        }
        return whole

    def to_yaml(self) -> str:
        """Return the text of `project.yaml`."""
        return write_yaml(self.to_dict())

    def write(self, path: Path) -> None:
        """Write the file, unless it says the same already: comments in it are kept as long as nothing changes."""
        whole = self.to_dict()
        if path.is_file():
            try:
                if read_yaml(path) == whole:
                    return
            except ConfigError:
                pass  # it is written anew
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.tmp")
        fresh.write_text(write_yaml(whole), encoding="utf-8")
        fresh.replace(path)


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"project: {what} is a mapping, not {type(value).__name__}")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ConfigError(f"project: {what} is a list, not {type(value).__name__}")
    return value
