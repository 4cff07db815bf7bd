"""FunctionSpec: everything that a function is, and its two forms: a flat dict that travels, and YAML for people."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean
from mlrun.functions.foreign import read_foreign

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FIELDS", "KINDS", "FunctionSpec", "check_kind", "read_yaml", "write_yaml"]

KINDS = ("job", "handler", "local")
_ELSEWHERE = {
    "ray": "executor='ray' says where a job runs",
    "mpijob": "use kind='job' with replicas=N",
    "dask": "use kind='job' with executor='ray'",
    "spark": "use kind='job' with executor='ray'",
    "remote-spark": "use kind='job' with executor='ray'",
    "databricks": "use kind='job'",
}
_TEXTS = ("env", "secrets", "node_selector")  # text -> text
_MOST_NODES = (
    1_000_000  # values in a YAML file, repeated ones counted: a small file can mean very many
)
_METADATA = ("name", "project", "tag", "labels")
# where it came from on this host; neither code nor spec
_PLACE = ("context",)


@dataclass
class FunctionSpec:
    """A function: its code, and what it needs to run.

    Attributes:
        name, project, tag: how it is called; `tag` is a wish that `save` fulfils, and no part of the content.
        kind: job, handler or local.
        handler: what of the code is called: `train`, `Trainer::fit`, `module.func`.
        code: one of `{"kind": "source", "text", "filename"}`; `{"kind": "pickle", "data"}` (base64 of a cloudpickle);
            `{"kind": "module", "name"}`; `{"kind": "command", "path", "args"}`. `digest` stands for content that the
            other fields do not hold, or not always in the same bytes. `origin` is the file it was read from.
        image: container image.
        requirements: pip requirements.
        env: variable -> value, in clear.
        secrets: variable -> reference (`env:NAME`, `file:PATH`, `k8s:SECRET/KEY`).
        resources: `num_cpus`, `num_gpus`, `memory` (bytes), `custom` (name -> amount).
        replicas: ranked processes of a distributed function.
        node_selector: labels of the nodes where it may run.
        retry: `{"count", "backoff"}`; see `fn.run`.
        state_thresholds: phase -> time after which a run is aborted.
        time_limit: seconds, or text such as `1h`, that a run may take.
        description: one sentence for people.
        labels: words to find it by.
        source: folder, archive or git URL of code that comes along.
        workdir: folder inside the source that imports are looked up in.
        context: folder that a relative `source` means; no part of the content.
        more: fields that this version does not know, kept as they are.
    """

    name: str = ""
    project: str = ""
    tag: str = ""
    kind: str = "job"
    handler: str = ""
    code: dict[str, Any] = field(default_factory=dict)
    image: str = ""
    requirements: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    replicas: int = 1
    node_selector: dict[str, str] = field(default_factory=dict)
    retry: dict[str, Any] = field(default_factory=dict)
    state_thresholds: dict[str, Any] = field(default_factory=dict)
    time_limit: float | str | None = None
    description: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    workdir: str = ""
    context: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from the defaults, as JSON values; a copy."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "more"}
        blank = FunctionSpec()
        kept = {k: v for k, v in found.items() if v != getattr(blank, k)}
        return copy.deepcopy({**self.more, **kept, "kind": self.kind})

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> FunctionSpec:
        """Read the flat form, or the one of `function.yaml` (`kind`, `metadata`, `spec`).

        Raises:
            ConfigError: it is no mapping, or a field has a value of another type.
        """
        if not hasattr(given, "items"):
            raise ConfigError(f"a function is a mapping, not {type(given).__name__}")
        flat = _flattened(given) if hasattr(given.get("spec"), "items") else dict(given)
        blank = cls()
        values: dict[str, Any] = {}
        for key in FIELDS & flat.keys():
            default = getattr(blank, key)
            value = flat[key]
            if value is None or (key == "kind" and not value):
                continue
            if key == "retry":
                value = _retries(value)
            if isinstance(default, (dict, list)) and not isinstance(value, type(default)):
                wanted = "a mapping" if isinstance(default, dict) else "a list"
                raise ConfigError(f"function field {key!r} is {wanted}, not {type(value).__name__}")
            values[key] = _as_field(key, value, default)
        more = {k: v for k, v in flat.items() if k not in FIELDS}
        made = cls(**values, more=copy.deepcopy(more))
        check_kind(made.kind)
        return made

    def content(self) -> dict[str, Any]:
        """Return what the hash is of: all but the tag and where the code was found on this host."""
        found = self.to_dict()
        for name in ("tag", *_PLACE):
            found.pop(name, None)
        if code := found.get("code"):
            code.pop("origin", None)
            if "digest" in code:
                code.pop("data", None)
            if "text" in code and "path" in code:  # where a script lies is no part of what it says
                code["path"] = Path(code["path"]).name
        return found

    def to_document(self) -> dict[str, Any]:
        """Return the form of `function.yaml`, in the order that people read it."""
        flat = self.to_dict()
        for name in _PLACE:
            flat.pop(name, None)
        flat.get("code", {}).pop("origin", None)
        kind = flat.pop("kind")
        metadata = {k: flat.pop(k) for k in _METADATA if k in flat}
        code = flat.pop("code", None)
        if code:  # the longest part stands last
            flat["code"] = {"kind": code.pop("kind", "source"), **code}
        return {"kind": kind, "metadata": metadata, "spec": flat}


FIELDS = frozenset(f.name for f in fields(FunctionSpec)) - {"more"}


def _as_field(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, str):
        return str(value)
    if key in _TEXTS:
        return {str(k): str(v) for k, v in value.items()}
    return copy.deepcopy(value)


def _retries(given: Any) -> dict[str, Any]:
    """Return retries as a mapping: `3` is `{"count": 3}`."""
    if isinstance(given, dict):
        return given
    if isinstance(given, int):
        return {"count": given}
    found = {k: getattr(given, k, None) for k in ("count", "backoff")}
    return {k: v for k, v in found.items() if v is not None}


def _flattened(given: Mapping[str, Any]) -> dict[str, Any]:
    rest = {k: v for k, v in given.items() if k not in ("metadata", "spec", "status", "verbose")}
    metadata = dict(given.get("metadata") or {})
    for stale in ("hash", "updated", "created"):
        metadata.pop(stale, None)
    return {**rest, **metadata, **read_foreign(given["spec"])}


def check_kind(kind: str) -> str:
    """Return the kind.

    Raises:
        ConfigError: nothing runs functions of this kind here; says what does its work.
    """
    if kind in KINDS:
        return kind
    hint = f": {_ELSEWHERE[kind]}" if kind in _ELSEWHERE else did_you_mean(kind, KINDS)
    raise ConfigError(f"no function kind {kind!r}{hint}; known: {', '.join(KINDS)}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; nothing in it can name a Python object.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    import yaml

    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read {path.name}: {reason}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path.name} holds {type(found).__name__}, not a mapping")
    _count(found, path.name)
    return found


def _count(document: Any, name: str) -> None:
    left, waiting = _MOST_NODES, [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value
            left -= len(value)
        if left < 0:
            raise ConfigError(f"{name} means more than {_MOST_NODES:,} values")


def write_yaml(document: Mapping[str, Any]) -> str:
    """Return a document as YAML: block style, order kept, texts of several lines as they are."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes several lines as a block."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]
    made: str = yaml.dump(
        dict(document), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return made


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads plain values: no dates, no objects."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader
