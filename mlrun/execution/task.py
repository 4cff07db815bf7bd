"""Task: everything that a worker needs to know to perform one run, in one value that pickles and has a JSON form."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from mlrun.config import Settings
from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.store import Store

__all__ = ["Task", "carried_settings"]

_NOT_CARRIED = (
    "api_key",
    "run_id",
    "quiet",
    "executor",
    "project",
)  # a secret, or another's affair

_IN_ROW = ("run_id", "name", "project", "labels", "tags", "notes")  # a run has them in its row
_LARGE = 256 * 1024  # characters of a function that a run keeps a copy of


@dataclass
class Task:
    """One run to perform.

    Attributes:
        run_id, name, project: which run it is.
        function: the function's spec, as `FunctionSpec.to_dict()` gives it.
        function_uri: `project/name@hash`, what the run names.
        handler: what of the function's code to call; empty for the spec's own.
        params: name -> JSON value. `inputs`: name -> URL or path; values that are no text travel beside the task.
        hints: name of an input -> the class that it is to become, `polars.DataFrame`; counts for more than annotations.
        returns: hints of what the handler returns.
        parent, iteration, kind, labels, tags, notes: facts of the run.
        store: settings that open the store, its folder absolute.
        settings: settings of the run that differ from the defaults; no secrets.
        secrets: name -> reference (`env:NAME`, `file:PATH`, …), never a value.
        attempt: 0 for the first.
        captures: whether console, system metrics and provenance are recorded.
        fresh: whether the run is not in the store yet: then nobody looks for it.
        announced: when its row was written by whoever gave it to a worker, microseconds; 0 if nobody has told.
        time_limit: seconds after which the run is aborted by the process that performs it; None for no limit.
        settle: whether the end of the run is absorbed at once, or left to whoever performs many.
        worker: whether the process that performs it is a worker's, that may be killed to abort the run.
        out_path: where artifacts go, when not into the store.
        hyper: options of the hyperparameter job whose iterations the handler opens by itself (strategy "custom").
    """

    run_id: str
    name: str
    project: str = "default"
    function: dict[str, Any] = field(default_factory=dict)
    function_uri: str = ""
    handler: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    returns: list[Any] = field(default_factory=list)
    parent: str | None = None
    iteration: int | None = None
    kind: str = "job"
    labels: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    store: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    attempt: int = 0
    captures: bool = True
    fresh: bool = False
    announced: int = 0
    time_limit: float | None = None
    settle: bool = True
    worker: bool = False
    out_path: str = ""
    hyper: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from the defaults."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != _default(f)}

    def to_json(self) -> str:
        """Return the task as JSON text.

        Raises:
            ConfigError: a param or an input has no JSON form; the message names it.
        """
        try:
            return json.dumps(self.to_dict())
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self._strange()}, and must travel as JSON: {error}") from error

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Task:
        """Return the task; fields that this version does not know are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in given.items() if k in known})

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task that `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    def record(self) -> dict[str, Any]:
        """Return what the run's provenance keeps: enough to perform it again; a large function only by name."""
        kept = self.to_dict()
        for name in (*_IN_ROW, "store", "settings", "announced"):
            kept.pop(name, None)
        for name in ("params", "inputs", "returns"):
            if name in kept:
                kept[name] = _json_or_repr(kept[name])
        if self.function_uri or len(json.dumps(kept.get("function", {}), default=repr)) > _LARGE:
            kept.pop("function", None)
        return kept

    def but(self, **changes: Any) -> Task:
        """Return a copy with these fields changed."""
        return replace(self, **changes)

    def open_settings(self) -> Settings:
        """Return the settings that the run has where it is performed."""
        from mlrun.config import settings

        return settings(**{**self.settings, **self.store, "project": self.project})

    def open_store(self) -> Store | None:
        """Return the run's store; None in mode "disabled"."""
        from mlrun.store import open_store

        known = self.open_settings()
        return None if known.mode == "disabled" else open_store(given=known)

    def _strange(self) -> str:
        for what in ("params", "inputs", "returns", "labels", "function"):
            found = getattr(self, what)
            for key, value in found.items() if isinstance(found, dict) else enumerate(found):
                try:
                    json.dumps(value)
                except (TypeError, ValueError):
                    return f"{what}[{key!r}] is a {type(value).__name__}"
        return "the task has a value without a JSON form"


def _json_or_repr(value: Any) -> Any:
    return json.loads(json.dumps(value, default=repr))


def _default(of: Any) -> Any:
    return of.default_factory() if callable(of.default_factory) else of.default


def carried_settings(known: Settings) -> dict[str, Any]:
    """Return what of the settings goes to a worker: what differs from the defaults, without secrets and the store's."""
    base = asdict(Settings())
    return {
        k: v
        for k, v in asdict(known).items()
        if v != base[k] and k not in _NOT_CARRIED and k not in STORE_SETTINGS
    }


STORE_SETTINGS = ("dbpath", "records_url", "series_url", "objects_url")
