"""The curves of the rows of a table: of runs that have ended each is asked for once, none keeps the rows waiting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from . import session
from .memory import kept
from .runs_frame import curves, open_runs

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Curves"]

_PLACE, _COST = "_curves", "_curves_cost"
_REMEMBERED = 3_000  # curves
_LONG = 0.12  # seconds that rows may wait for their curves
_FRESH = 0.9  # seconds for which a curve that moves is shown


class Curves:
    """The curves of one metric.

    What a page of curves costs depends on how its runs are spread over the store. If the last page took long, or
    nobody knows yet and the store is large, the rows are drawn first and the curves come with the next look.

    Args:
        metric: its name; empty for none.
        slow: whether to expect that it takes long.
    """

    def __init__(self, metric: str, *, slow: bool) -> None:
        self.metric = metric
        known = st.session_state.get(_COST)
        self._slow = slow if known is None else known > _LONG
        self._waits = True

    def late(self, rows: pl.DataFrame) -> bool:
        """Whether the curves of these rows come with the next look."""
        return bool(self.metric) and self._slow and bool(self._missing(rows))

    def of(self, rows: pl.DataFrame) -> dict[str, list[float]]:
        """Return the values for each row; of those that come later none. The next look asks for them."""
        missing = self._missing(rows)
        first, self._waits = self._waits, False
        if missing and not (self._slow and first):
            self._ask(missing)
        going = tuple(open_runs(rows))
        store = session.store()
        fresh = kept(
            "runs curves", (self.metric, going), _FRESH, lambda: curves(store, going, self.metric)
        )
        known = self._known()
        return {r: fresh.get(r) or known.get((r, self.metric), []) for r in rows["run_id"]}

    def _ask(self, missing: list[str]) -> None:
        began = time.monotonic()
        found = curves(session.store(), missing, self.metric)
        st.session_state[_COST] = time.monotonic() - began
        known = self._known()
        if len(known) > _REMEMBERED:
            known.clear()
        known.update({(run_id, self.metric): values for run_id, values in found.items()})

    def _missing(self, rows: pl.DataFrame) -> list[str]:
        going, known = set(open_runs(rows)), self._known()
        return [r for r in rows["run_id"] if r not in going and (r, self.metric) not in known]

    def _known(self) -> dict[tuple[str, str], list[float]]:
        found: dict[tuple[str, str], list[float]] = st.session_state.setdefault(_PLACE, {})
        return found
