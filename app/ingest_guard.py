"""The guard of an ingest: how many metric keys a run may have, and how many points a project may send a second.

A run that has as many keys as it may have gets no new ones: their rows are left out, counted in its `dropped`, and the
sender is told. All other rows, and every record, are stored. A row that is left out keeps its place: its ids become 0,
which no run and no key has, so that positions stay what they are on both sides.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.journal.segment import COLUMNS
from mlrun.tables import METRICS, POLICIES, RUNS, SUMMARIES

from .ingest_files import columns_of
from .logs import log

if TYPE_CHECKING:
    from mlrun.contracts import Op, Records
    from mlrun.journal.mapped import Names
    from mlrun.journal.upload import Part

    from .figures import Figures
    from .ingest_session import Session

__all__ = ["Guard"]

_WARN = 0.8
_MOST_RUNS = 20_000  # whose keys are remembered
_FRESH = 30.0  # seconds that a policy is remembered


class Guard:
    """Looks at rows before they are stored; used by the thread of the ingest alone, but for `rate`.

    Args:
        records: where policies and summaries are.
        most: keys of a run where its project says nothing; 0 for no bound.
        figures: count what is refused.
    """

    def __init__(self, records: Records, most: int, figures: Figures | None = None) -> None:
        self._records = records
        self._most = most
        self._figures = figures
        self._keys: dict[str, set[str]] = {}
        self._warned: set[str] = set()
        self._policies: dict[str, tuple[float, dict[str, Any]]] = {}
        self.dropped: dict[str, int] = {}  # of each run, by this gateway
        self._fresh: dict[str, int] = {}
        if figures is not None:
            figures.describe("mlrun_ingest_dropped_total", "Points whose run has too many keys.")

    def policy(self, project: str, column: str) -> int | None:
        """Return what a project's policy says, as it was half a minute ago at most."""
        until, row = self._policies.get(project, (0.0, {}))
        if until < time.monotonic():
            rows = self._records.lookup(POLICIES, {"project": project})
            row = rows[0] if rows else {}
            self._policies[project] = (time.monotonic() + _FRESH, row)
        found: int | None = row.get(column)
        return found

    def passed(self, session: Session, part: Part, skip: int, names: Names) -> Part:
        """Return the rows of a part, with those left out that bring a run more keys than it may have."""
        runs, keys, *_ = columns_of(part)
        codes = runs.astype(np.uint64) << np.uint64(32) | keys
        fresh = np.setdiff1d(np.unique(codes[skip:]), self._known(session, part.number))
        if not len(fresh):
            return part
        refused, good = [], []
        for code in fresh.tolist():
            run = names.runs.get(code >> 32)
            key = names.keys.get(code & 0xFFFFFFFF)
            guarded = run is not None and key is not None and run[0] == METRICS.name
            if guarded and not self._may(run[1], run[2], key):  # type: ignore[index, arg-type]
                refused.append(code)
            else:
                good.append(code)
        session.passed = (
            part.number,
            np.union1d(self._known(session, part.number), np.array(good, np.uint64)),
        )
        return self._without(part, skip, codes, refused, names) if refused else part

    def take_dropped(self) -> list[Op]:
        """Return the ops that count what was left out since the last call."""
        ops: list[Op] = []
        for run_id, count in self._fresh.items():
            rows = self._records.lookup(RUNS, {"run_id": run_id})
            before = (rows[0]["dropped"] or 0) if rows else 0
            ops.append(("put", RUNS.name, {"run_id": run_id, "dropped": before + count}))
        self._fresh.clear()
        return ops

    def forget(self) -> None:
        """Count nothing of what was not committed: it comes again."""
        for run_id, count in self._fresh.items():
            self.dropped[run_id] -= count
        self._fresh.clear()

    def counted(self, op: Op) -> Op:
        """Return an op of a tracker; the count of a run whose rows were left out here has these in it, too."""
        verb, table, row = op
        if verb != "put" or table != RUNS.name or "dropped" not in row:
            return op
        more = self.dropped.get(str(row.get("run_id")), 0)
        return (verb, table, {**row, "dropped": (row["dropped"] or 0) + more}) if more else op

    def _known(self, session: Session, number: int) -> np.ndarray[Any, Any]:
        of, known = session.passed
        return known if of == number else np.empty(0, np.uint64)

    def _may(self, project: str, run_id: str, key: str) -> bool:
        given = self.policy(project, "max_metric_keys")
        most = self._most if given is None else given
        if not most:
            return True
        keys = self._keys.get(run_id)
        if keys is None:
            if len(self._keys) >= _MOST_RUNS:
                self._keys.clear()
            rows = self._records.lookup(SUMMARIES, {"run_id": run_id})
            keys = self._keys[run_id] = {row["key"] for row in rows}
        if key in keys:
            return True
        if len(keys) >= most:
            return False
        keys.add(key)
        if len(keys) > _WARN * most and run_id not in self._warned:
            self._warn(project, run_id, len(keys), most)
        return True

    def _warn(self, project: str, run_id: str, count: int, most: int) -> None:
        if len(self._warned) >= _MOST_RUNS:
            self._warned.clear()
        self._warned.add(run_id)
        told = {"run_id": run_id, "project": project, "keys": count, "most": most}
        log.warning("a run has many metric keys", extra={"fields": told})
        if self._figures is not None:
            self._figures.add("mlrun_ingest_many_keys_total")

    def _without(
        self,
        part: Part,
        skip: int,
        codes: np.ndarray[Any, Any],
        refused: list[int],
        names: Names,
    ) -> Part:
        out = np.isin(codes, np.array(refused, np.uint64))
        out[:skip] = False
        found, counts = np.unique(codes[out] >> np.uint64(32), return_counts=True)
        for run, count in zip(found.tolist(), counts.tolist(), strict=True):
            run_id = names.runs[run][2]
            self._fresh[run_id] = self._fresh.get(run_id, 0) + count
            self.dropped[run_id] = self.dropped.get(run_id, 0) + count
        if self._figures is not None:
            self._figures.add("mlrun_ingest_dropped_total", int(out.sum()))
        payload, at = bytearray(part.payload), 0
        for index, (_, _, width) in enumerate(COLUMNS):
            if index < 2:  # the ids of run and key
                column = np.frombuffer(payload, np.uint32, len(out), at)
                column[out] = 0
            at += width * len(out)
        return replace(part, payload=bytes(payload))
