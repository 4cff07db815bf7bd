"""The rows of a run: what `init` puts, what a resumed run starts from, and the ops of params, results and tags."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.names import clean
from mlrun.tables import PROJECTS, RUNS, TAGS
from mlrun.tracking.values import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlrun.contracts import Op

__all__ = ["RunRow", "param_ops", "result_op", "tag_ops"]


@dataclass
class RunRow:
    """What is known of a run when it is opened.

    Attributes:
        params: a tree, as `RunConfig` holds it; `results`: by key.
        resumed: whether the run was in the store before.
        next_step, metric_keys: where a resumed run goes on.
        dropped: points that were dropped before it was resumed.
    """

    id: str
    project: str
    name: str
    notes: str | None = None
    tags: set[str] = field(default_factory=set)
    labels: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    next_step: int = 0
    metric_keys: tuple[str, ...] = ()
    dropped: int = 0
    resumed: bool = False

    def set_label(self, key: str, value: Any) -> None:
        """Set a label, or remove it with None; what is no JSON value is kept as its `repr`."""
        if value is None:
            self.labels.pop(key, None)
        else:
            self.labels[key] = decode(encode(value)[0])

    def labels_json(self) -> str | None:
        """Return the labels as they are stored."""
        return json.dumps(self.labels, ensure_ascii=False) if self.labels else None

    def provenance_json(self) -> str | None:
        """Return the provenance as it is stored."""
        return json.dumps(self.provenance, ensure_ascii=False) if self.provenance else None

    def ops(self, columns: Mapping[str, Any], now: int) -> list[Op]:
        """Return the batch that opens the run: project, run, tags.

        Args:
            columns: further columns of the run's row.
            now: microseconds since the epoch.
        """
        row = {
            "run_id": self.id,
            "name": self.name,
            "project": self.project,
            "notes": self.notes,
            "labels": self.labels_json(),
            "provenance": self.provenance_json(),
            "updated_at": now,
            **columns,
        }
        return [
            ("put", PROJECTS.name, {"name": self.project, "updated_at": now}),
            ("put", RUNS.name, row),
            *tag_ops("put", self.id, sorted(self.tags)),
        ]


def tag_ops(verb: Any, run_id: str, tags: Iterable[str]) -> list[Op]:
    """Return the ops that put or delete tags."""
    return [(verb, TAGS.name, {"run_id": run_id, "tag": tag}) for tag in tags]


def result_op(
    table: str, run_id: str, key: str, value: Any, warn: Callable[[str, str], None]
) -> Op:
    """Return the op that puts a param or result; a value without a JSON form is kept as its `repr`, with a warning."""
    text, kind, exact = encode(value)
    if not exact:
        warn(
            f"{table}:{key}",
            f"{key!r:.80}: a {type(value).__name__} has no JSON form; its repr is stored",
        )
    return ("put", table, {"run_id": run_id, "key": key, "value": text, "type": kind})


def param_ops(
    table: str,
    run_id: str,
    new: Mapping[str, Any],
    gone: Iterable[str],
    warn: Callable[[str, str], None],
) -> list[Op]:
    """Return the ops that bring the stored params to the state of the config."""
    ops: list[Op] = [
        ("del", table, {"run_id": run_id, "key": clean(key, "key", warn)}) for key in gone
    ]
    return ops + [result_op(table, run_id, clean(k, "key", warn), v, warn) for k, v in new.items()]
