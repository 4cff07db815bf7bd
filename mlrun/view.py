"""RunView: one run as it is in the store, live or finished."""

from __future__ import annotations

import html
import json
import time
from typing import TYPE_CHECKING, Any

from mlrun.change import set_times, update_run
from mlrun.errors import MlrunError, NotFound, did_you_mean
from mlrun.ids import now_us
from mlrun.lookup.sight import snapshot
from mlrun.lookup.widen import aggregate
from mlrun.query import resolve_run
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    import polars as pl

    from mlrun.content.dataitem import DataItem
    from mlrun.store import Store

__all__ = ["TERMINAL_STATES", "RunView", "get_run"]

_READ = frozenset({"_row", "params", "results", "tags", "summaries", "summary"})

TERMINAL_STATES = frozenset({"completed", "error", "aborted", "lost", "skipped"})


def get_run(store: Store, run_id: str) -> RunView:
    """Return the view of a run; see `resolve_run` for what fits as an id.

    Raises:
        NotFound: no such run.
    """
    return RunView(store, resolve_run(store, run_id))


class RunView:
    """A run's records at one moment; `refresh()` reads them anew.

    Attributes:
        id: the run's id.
        params: its parameters, `results`: its final values, `summary`: the last value of every metric.
        tags: in alphabetical order. `labels`: a dict. `provenance`: git, host, packages and so on, a dict.
    """

    params: dict[str, Any]
    results: dict[str, Any]
    tags: list[str]
    summaries: pl.DataFrame
    summary: dict[str, float]
    _row: dict[str, Any]

    def __init__(self, store: Store, run_id: str, *, later: bool = False) -> None:
        """Read a run.

        Args:
            store: where it is.
            run_id: its id.
            later: read it when somebody first asks, for a caller who knows that it is there.

        Raises:
            NotFound: there is no such run.
        """
        self.id = run_id
        self.store = store
        if not later:
            self.refresh()

    def __getattr__(self, name: str) -> Any:
        if name not in _READ or "store" not in self.__dict__:
            raise AttributeError(f"a RunView has no {name!r}{did_you_mean(name, dir(type(self)))}")
        return self.refresh().__dict__[name]

    def refresh(self) -> RunView:
        """Read the run again; returns itself."""
        with snapshot(self.store) as sight:
            tables = sight.each((RUNS, TAGS, PARAMS, RESULTS, SUMMARIES), [self.id])
        found = tables[RUNS.name].to_dicts()
        if not found:
            raise NotFound(f"no run {self.id!r} in {self.store.url}")
        self._row = found[0]
        self.params = _values(tables[PARAMS.name])
        self.results = _values(tables[RESULTS.name])
        self.tags = sorted(tables[TAGS.name]["tag"].to_list())
        self.summaries = tables[SUMMARIES.name].sort("key")
        last = self.summaries.select(aggregate("last")).to_series()
        self.summary = dict(zip(self.summaries["key"], last, strict=True))
        return self

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._row["name"] or "")

    @property
    def project(self) -> str:
        """Its project."""
        return str(self._row["project"])

    @property
    def state(self) -> str:
        """created, pending, running, completed, error, aborting, aborted, lost, skipped or pending_retry."""
        return str(self._row["state"])

    @property
    def error(self) -> str | None:
        """The traceback or message of a run that failed."""
        found: str | None = self._row["error"]
        return found

    @property
    def notes(self) -> str:
        """Free text."""
        return str(self._row["notes"] or "")

    @property
    def started_at(self) -> datetime | None:
        """When it started, UTC."""
        found: datetime | None = self._row["started_at"]
        return found

    @property
    def finished_at(self) -> datetime | None:
        """When it ended, UTC; None while it runs."""
        found: datetime | None = self._row["finished_at"]
        return found

    @property
    def labels(self) -> dict[str, Any]:
        """Its labels."""
        return dict(json.loads(self._row["labels"] or "{}"))

    @property
    def provenance(self) -> dict[str, Any]:
        """Commit, command line, versions and host, as recorded."""
        return dict(json.loads(self._row["provenance"] or "{}"))

    @property
    def record(self) -> dict[str, Any]:
        """The run's row, as a dict."""
        return dict(self._row)

    @property
    def outputs(self) -> dict[str, Any]:
        """Results, and the URIs of the artifacts that it made (the newest version of each key)."""
        from mlrun.content.naming import artifact_uri

        made = {k: artifact_uri(self.project, k, v) for k, v in self._artifacts().items()}
        return {**made, **self.results}

    def output(self, key: str) -> Any:
        """Return one output; NotFound (with the nearest key) if there is none."""
        found = self.outputs
        if key not in found:
            raise NotFound(f"run {self.name!r} has no output {key!r}{did_you_mean(key, found)}")
        return found[key]

    def artifact(self, key: str) -> DataItem:
        """Return an artifact that the run made, in the newest version that it logged."""
        from mlrun.content.dataitem import find_artifact
        from mlrun.content.naming import artifact_uri

        made = self._artifacts()
        if key not in made:
            raise NotFound(f"run {self.name!r} made no artifact {key!r}{did_you_mean(key, made)}")
        return find_artifact(self.store, artifact_uri(self.project, key, made[key]))

    def artifacts(self) -> pl.DataFrame:
        """Return the artifacts that the run made, as `mlrun.artifacts` does."""
        from mlrun.query import artifacts

        return artifacts(self.store, self)

    def lineage(self) -> pl.DataFrame:
        """Return what the run made and used, oldest first.

        Columns `role` (output or input), `project, key, version, type, size, step, time, uri, meta` (JSON); one row for
        every version and step.
        """
        from mlrun.lookup.lineage import lineage_of

        return lineage_of(self.store, self.id)

    def metrics(
        self, keys: Iterable[str] | str | None = None, points: int | None = None, **options: Any
    ) -> pl.DataFrame:
        """Return the run's points, as `mlrun.metrics` does."""
        from mlrun.series.points import metrics

        wanted = [keys] if isinstance(keys, str) else None if keys is None else list(keys)
        return metrics(self.store, self.id, keys=wanted, points=points, **options)

    def logs(self, follow: bool = False, interval: float = 0.2) -> Iterator[str] | pl.DataFrame:
        """Return the console lines as a frame; with `follow`, an iterator over lines until the run ends."""
        from mlrun.query import logs

        return self._follow(interval) if follow else logs(self.store, self.id)

    def _follow(self, interval: float) -> Iterator[str]:
        from mlrun.query import logs

        seen = 0
        while True:
            ended = (
                self.refresh().state in TERMINAL_STATES
            )  # looked at before reading: nothing comes after
            lines = logs(self.store, self.id)["line"].to_list()
            yield from lines[seen:]
            seen = len(lines)
            if ended:
                return
            time.sleep(interval)

    def wait_for_completion(self, timeout: float | None = None, interval: float = 0.1) -> RunView:
        """Wait until the run has ended; returns itself.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self.refresh().state not in TERMINAL_STATES:
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"run {self.name!r} is {self.state} after {timeout} s")
            time.sleep(interval)
        return self

    @property
    def iterations(self) -> pl.DataFrame:
        """The iteration table of a hyperparameter job: `state, iter`, then `param.<key>` and `output.<key>`."""
        from mlrun.hyper.table import stored_iterations

        return stored_iterations(self.store, self.id)

    def abort(self, reason: str | None = None, timeout: float | None = 30.0) -> RunView:
        """Abort the run, whoever performs it, and wait until it has ended; nothing happens when it had.

        Args:
            reason: why; becomes its error.
            timeout: seconds to wait for its end; 0 not to wait.

        Returns:
            Itself, refreshed.

        Raises:
            TimeoutError: it has not ended by then; it stays `aborting`.
        """
        from mlrun.execution.abort import abort_run

        abort_run(self.store, self.id, reason=reason, timeout=timeout)
        return self.refresh()

    def retry(self, executor: Any = None, local: bool = False) -> RunView:
        """Perform a run that has failed once more, as a child run; this run then ends as that attempt does.

        A hyperparameter job goes on: what has completed stays, everything else is run once more.

        Args:
            executor: where, as in `Function.run`.
            local: the same as executor="local".

        Returns:
            Itself, refreshed.

        Raises:
            MlrunError: it has not ended in error, aborted or lost, or is no run of a function.
        """
        from mlrun.execution.retry import retry_run

        retry_run(self.store, self.id, executor=executor, local=local)
        return self.refresh()

    def update(
        self,
        name: str | None = None,
        notes: str | None = None,
        add_tags: Iterable[str] = (),
        remove_tags: Iterable[str] = (),
        labels: Mapping[str, Any] | None = None,
    ) -> RunView:
        """Change what people may change; a label of None is removed. Returns itself, refreshed."""
        update_run(
            self.store, self.id, name=name, notes=notes, add_tags=add_tags, remove_tags=remove_tags,
            labels=labels, known_labels=self.labels,
        )  # fmt: skip
        return self.refresh()

    def archive(self) -> RunView:
        """Hide the run from lists."""
        return self._set(archived_at=now_us())

    def restore(self) -> RunView:
        """Undo `archive` or `delete`."""
        return self._set(archived_at=None, deleted_at=None)

    def delete(self) -> RunView:
        """Delete softly: `restore()` brings it back until `compact` frees it after 30 days."""
        if self.state not in TERMINAL_STATES:
            raise MlrunError(
                f"run {self.name!r} is {self.state}: it cannot be deleted before it has ended"
            )
        return self._set(deleted_at=now_us())

    def _set(self, **times: int | None) -> RunView:
        set_times(self.store, [self.id], **times)
        return self.refresh()

    def _artifacts(self) -> dict[str, int]:
        made = self.artifacts()
        return dict(zip(made["key"], made["version"], strict=True))

    def __repr__(self) -> str:
        """Show name, state and id."""
        return f"RunView({self.name!r}, {self.state}, id={self.id!r})"

    def _repr_html_(self) -> str:
        shown = {
            "state": self.state,
            "project": self.project,
            **self.params,
            **self.results,
            **self.summary,
        }
        rows = "".join(
            f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>"
            for k, v in shown.items()
        )
        return f"<table><caption>{html.escape(self.name)}</caption>{rows}</table>"


def _values(frame: pl.DataFrame) -> dict[str, Any]:
    pairs = frame.sort("key").select("key", "value").iter_rows()
    return {key: json.loads(value) for key, value in pairs}
