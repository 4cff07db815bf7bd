"""The methods of `Run` that say what a run is: name, notes, tags, labels, params, results, definitions of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.ids import now_us
from mlrun.names import as_text, clean, plain_text
from mlrun.tables import PARAMS, RESULTS, RUNS
from mlrun.tracking.runops import RunRow, param_ops, result_op, tag_ops
from mlrun.tracking.values import pretty

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from threading import RLock

    from mlrun.contracts import Op
    from mlrun.tracking.runconfig import RunConfig

__all__ = ["RunFacts"]


class RunFacts:
    """What is recorded of a run beside its points."""

    id: str
    config: RunConfig
    results: dict[str, Any]
    _row: RunRow
    _lock: RLock
    strict: bool

    if TYPE_CHECKING:

        @property
        def store(self) -> Any:
            """Where the run is kept."""

        def record(self, ops: list[Op]) -> None:
            """Write records."""

        def warn(self, code: str, message: str) -> None:
            """Warn once per code."""

        def failed(self, what: str, error: Exception) -> None:
            """Warn, or raise if strict."""

    def define_metric(
        self,
        pattern: str,
        x: str | None = None,
        goal: str | None = None,
        summary: str | None = None,
    ) -> None:
        """Say how metrics are to be read.

        Args:
            pattern: a metric's name, or a pattern with `*`.
            x: the metric that is its x axis, such as "epoch".
            goal: "max" or "min": which value is the better one.
            summary: the aggregate that stands for it: last, min, max or mean.
        """
        goal = {"maximize": "max", "minimize": "min"}.get(as_text(goal), goal)
        if goal not in (None, "max", "min"):
            self.warn(
                "goal",
                f"define_metric: goal is 'max' or 'min', not {pretty(goal):.80}; it is left out",
            )
            goal = None
        if summary not in (None, "last", "min", "max", "mean"):
            self.warn(
                "summary",
                f"define_metric: summary is last, min, max or mean, not {pretty(summary):.80}; it is left out",
            )
            summary = None
        found = {"x": None if x is None else self._key(x), "goal": goal, "summary": summary}
        with self._lock:
            defined = self._row.provenance.setdefault("metric_defs", {})
            defined[self._key(pattern)] = {k: v for k, v in found.items() if v is not None}
            self._put_row(provenance=self._row.provenance_json())

    @property
    def name(self) -> str:
        """Its name; assign to rename the run."""
        return self._row.name

    @name.setter
    def name(self, name: str) -> None:
        self._row.name = clean(name, "name", self.warn)
        self._put_row(name=self._row.name)

    @property
    def notes(self) -> str | None:
        """Free text; assign to change it."""
        return self._row.notes

    @notes.setter
    def notes(self, notes: str | None) -> None:
        self._row.notes = None if notes is None else plain_text(notes)
        self._put_row(notes=self._row.notes)

    @property
    def tags(self) -> list[str]:
        """Its tags, sorted; see `add_tags` and `remove_tags`."""
        return sorted(self._row.tags)

    @property
    def labels(self) -> dict[str, Any]:
        """A copy of its labels; see `set_label`."""
        return dict(self._row.labels)

    @property
    def provenance(self) -> dict[str, Any]:
        """What is known of where it came from so far; the background completes it."""
        return dict(self._row.provenance)

    @property
    def resumed(self) -> bool:
        """Whether it was in the store before."""
        return self._row.resumed

    @property
    def summary(self) -> dict[str, float]:
        """Last value of every metric; reads the store (and loads Polars)."""
        if self.store is None:
            return {}
        from mlrun.view import get_run

        return dict(get_run(self.store, self.id).summary)

    def log_result(self, key: str, value: Any) -> None:
        """Record a final value: any JSON value; anything else is kept as its `repr`, with a warning."""
        self.log_results({key: value})

    def log_results(self, results: Mapping[str, Any]) -> None:
        """Record several final values."""
        ops = []
        for given, value in self._dict(results, "log_results").items():
            key = self._key(given)
            self.results[key] = value
            ops.append(result_op(RESULTS.name, self.id, key, value, self._inexact))
        self.record(ops)

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return a param; a default that is used becomes the param, so that the run shows what it ran with."""
        if key not in self.config and default is not None:
            self.config[key] = default
        return self.config.get(key, default)

    def add_tags(self, *tags: str) -> None:
        """Add tags; lists of tags are taken too."""
        new = [clean(t, "tag", self.warn) for t in _flat(tags)]
        self._row.tags.update(new)
        self.record(tag_ops("put", self.id, new))

    def remove_tags(self, *tags: str) -> None:
        """Remove tags; those that are not there do not matter."""
        gone = [clean(t, "tag", self.warn) for t in _flat(tags)]
        self._row.tags.difference_update(gone)
        self.record(tag_ops("del", self.id, gone))

    def set_label(self, key: str, value: Any) -> None:
        """Set one label; None removes it."""
        self.set_labels({key: value})

    def set_labels(self, labels: Mapping[str, Any]) -> None:
        """Set labels, beside those that are there; None removes one."""
        with self._lock:
            for key, value in self._dict(labels, "set_labels").items():
                self._row.set_label(self._key(key), value)
            self._put_row(labels=self._row.labels_json())

    def set_provenance(self, facts: Mapping[str, Any]) -> None:
        """Record where the run came from: commit, command line, versions, host; for the background."""
        with self._lock:
            self._row.provenance.update(facts)
            self._put_row(provenance=self._row.provenance_json())

    def _dict(self, given: Any, call: str) -> dict[Any, Any]:
        try:
            return dict(given)
        except (TypeError, ValueError):
            self.warn(call, f"{call}() takes a dict, not {type(given).__name__}: nothing is stored")
            return {}

    def _inexact(self, code: str, message: str) -> None:
        if self.strict:
            self.failed("log_result", TypeError(message.partition(";")[0]))
        else:
            self.warn(code, message)

    def _key(self, key: Any) -> str:
        return clean(key, "key", self.warn)

    def _put_row(self, **columns: Any) -> None:
        self.record([("put", RUNS.name, {"run_id": self.id, **columns, "updated_at": now_us()})])

    def _config_changed(self, new: dict[str, Any], gone: list[str]) -> None:
        self.record(param_ops(PARAMS.name, self.id, new, gone, self.warn))


def _flat(tags: Iterable[Any]) -> list[Any]:
    """Return single tags, as `add_tags("a", "b")` and `add_tags(["a", "b"])` give them."""
    lists = (list, tuple, set, frozenset)
    return [tag for t in tags for tag in (t if isinstance(t, lists) else (t,))]
