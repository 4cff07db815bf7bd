"""Changes to stored runs: what a person does after the fact, from any process.

A change first absorbs what waits in the journal, so that it comes after everything written before it; then it is one
transaction of the records store.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.errors import QueryError
from mlrun.ids import now_us
from mlrun.lookup.liveness import OPEN_STATES
from mlrun.names import clean, plain_text
from mlrun.notices import warn
from mlrun.tables import RUNS
from mlrun.tracking.runops import tag_ops
from mlrun.tracking.values import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = ["apply_now", "delete_runs", "set_times", "update_run"]


def apply_now(store: Store, ops: Sequence[Op]) -> None:
    """Apply ops behind everything that is pending."""
    store.flush_records()
    store.records.apply(ops)


def update_run(
    store: Store,
    run_id: str,
    *,
    name: str | None = None,
    notes: str | None = None,
    add_tags: Iterable[str] = (),
    remove_tags: Iterable[str] = (),
    labels: Mapping[str, Any] | None = None,
    known_labels: Mapping[str, Any] | None = None,
) -> None:
    """Change a run's name, notes, tags or labels; `labels` are laid over the known ones, None removes one."""
    for given in (add_tags, remove_tags):
        if isinstance(given, str):
            raise QueryError(f"tags must be a list of text, not the text {given!r}")
    row: dict[str, Any] = {"run_id": run_id, "updated_at": now_us()}
    if name is not None:
        row["name"] = clean(name, "name", _warn)
    if notes is not None:
        row["notes"] = plain_text(notes)
    if labels is not None:
        given = {clean(k, "label", _warn): v for k, v in labels.items()}
        row["labels"] = _labels({**(known_labels or {}), **given})
    ops: list[Op] = [("put", RUNS.name, row)]
    ops += tag_ops("put", run_id, [clean(tag, "tag", _warn) for tag in add_tags])
    ops += tag_ops("del", run_id, [clean(tag, "tag", _warn) for tag in remove_tags])
    apply_now(store, ops)


def _labels(labels: Mapping[str, Any]) -> str:
    """Return the JSON of labels, as a run stores them: what is no JSON value is kept as its `repr`."""
    kept = {k: decode(encode(v)[0]) for k, v in labels.items() if v is not None}
    return json.dumps(kept, ensure_ascii=False)


def _warn(code: str, message: str) -> None:
    warn(message)


def set_times(store: Store, run_ids: Iterable[str], **times: int | None) -> None:
    """Set `archived_at` or `deleted_at` of runs (microseconds, None to clear)."""
    stamp = now_us()
    apply_now(
        store, [("put", RUNS.name, {"run_id": r, "updated_at": stamp, **times}) for r in run_ids]
    )


def delete_runs(store: Store, where: str, project: str | None = None) -> int:
    """Delete runs that have ended, softly; `compact` frees them after 30 days, `restore()` brings them back before.

    Returns:
        How many runs were deleted.

    Raises:
        QueryError: `where` is empty; `run_id is not null` means every run (of `project`).
    """
    from mlrun.lookup.sight import snapshot
    from mlrun.query import run_query

    if not where or not where.strip():
        raise QueryError(
            "delete_runs needs a `where`: a state, a tag …; `run_id is not null` means every run"
        )
    query = run_query(project, where, None, None, 0, True, True, False)
    store.flush_records()
    with snapshot(store) as sight:
        found = sight.rows(RUNS, sight.find(query))
    ids = [
        r for r, state in found.select("run_id", "state").iter_rows() if state not in OPEN_STATES
    ]
    if ids:
        set_times(store, ids, deleted_at=now_us())
    return len(ids)
