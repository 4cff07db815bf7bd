"""What a resumed run starts from: its rows in the store, its last step, and who owns it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from mlrun.contracts import CanLookup
from mlrun.errors import StoreError, StoreUnreachable, did_you_mean
from mlrun.ids import advance_clock, now_us
from mlrun.lookup.liveness import OPEN_STATES, SILENCE_US
from mlrun.notices import warn
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS
from mlrun.tracking.runconfig import nest
from mlrun.tracking.runops import RunRow
from mlrun.tracking.values import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.store import Store
    from mlrun.tables import Table

__all__ = [
    "Known",
    "find_stored",
    "is_owned_elsewhere",
    "load_reachable",
    "load_row",
    "near_ids",
]

_MAX_COMPARED = 2_000  # ids that are looked through for a near one


class Known(NamedTuple):
    """What is known, without asking, of a run that has neither points nor results yet: its tags and its params."""

    tags: set[str]
    params: dict[str, Any]


def find_stored(store: Store, run_id: str, *, must: bool = False) -> dict[str, Any] | None:
    """Return the stored row of a run, what waits in the journal included; None if there is none.

    Where nobody can be asked (a gateway that does not answer, or mode offline) it counts as new, with a warning.

    Raises:
        StoreUnreachable: nobody can be asked, and it `must` be there.
    """
    try:
        store.flush_records()
        rows = _lookup(store, RUNS, run_id=run_id)
    except StoreUnreachable as error:
        if must:
            raise
        _warn_of_new(run_id, error)
        return None
    return rows[0] if rows else None


def load_reachable(store: Store, found: Mapping[str, Any], *, must: bool) -> RunRow | None:
    """Do as `load_row`; None, with a warning, where nobody answers any more: the run counts as new.

    Raises:
        StoreUnreachable: nobody answers, and what is stored `must` be gone on with.
    """
    try:
        return load_row(store, found)
    except StoreUnreachable as error:
        if must:
            raise
        _warn_of_new(found["run_id"], error)
        return None


def _warn_of_new(run_id: str, error: StoreUnreachable) -> None:
    warn(f"whether run {run_id!r:.80} is stored cannot be asked ({error}): it counts as new")


def load_row(store: Store, found: Mapping[str, Any], known: Known | None = None) -> RunRow:
    """Read everything that a run goes on from; `find_stored` was just called. What is `known` is not read.

    The clock of this process is put behind the run's last point, so that what is written next is written later.
    """
    row = RunRow(
        id=found["run_id"],
        project=found["project"],
        name=found["name"] or "",
        notes=found["notes"],
        labels=_object(found["labels"]),
        provenance=_object(found["provenance"]),
        dropped=found["dropped"] or 0,
        resumed=True,
    )
    if known is not None:
        row.tags, row.params = known
        return row
    run_id = row.id
    summaries = _lookup(store, SUMMARIES, run_id=run_id)
    if summaries:
        advance_clock(max(s["last_time"] for s in summaries) + 1)
    row.tags = {r["tag"] for r in _lookup(store, TAGS, run_id=run_id)}
    params = {r["key"]: decode(r["value"]) for r in _lookup(store, PARAMS, run_id=run_id)}
    row.params = nest(params)
    row.results = {r["key"]: decode(r["value"]) for r in _lookup(store, RESULTS, run_id=run_id)}
    row.next_step = max((s["last_step"] for s in summaries), default=-1) + 1
    row.metric_keys = tuple(s["key"] for s in summaries)
    return row


def is_owned_elsewhere(store: Store, found: Mapping[str, Any]) -> bool:
    """Whether a living writer holds the run: another process, or another `Run` of this one that is still open."""
    from mlrun.journal.slots import probe_alive, read_owner

    writer, _, claim = (found["writer"] or "").partition("#")
    if found["state"] not in OPEN_STATES or not writer:
        return False
    folder = store.journal / writer
    if (
        not folder.exists()
    ):  # another host's, on a network file system: all that is known is when it was heard
        return now_us() - (found["updated_at"] or 0) < SILENCE_US
    owner = read_owner(folder)
    return owner is not None and str(owner.claim) == claim and probe_alive(folder)


def near_ids(store: Store, run_id: str) -> str:
    """Return a hint at a stored id that looks like this one."""
    rows = _lookup(store, RUNS)
    return did_you_mean(run_id, [r["run_id"] for r in rows[-_MAX_COMPARED:]])


def _lookup(store: Store, table: Table, **key: Any) -> list[dict[str, Any]]:
    records: Any = store.records
    if not isinstance(records, CanLookup):
        raise StoreError(
            f"{type(records).__name__} cannot look up rows: runs cannot be resumed in it"
        )
    return records.lookup(table, key)


def _object(text: str | None) -> dict[str, Any]:
    """Decode a JSON column; what is damaged counts as empty, because a resumed run must start."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
