"""Load what the first page of the dashboard needs, beside its start: libraries, pages, and the log of a Delta table.

The first question of a process costs several tenths of a second more than the second. Who opens the dashboard should
find that behind them.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import mlrun
from mlrun.asking import answering
from mlrun.errors import MlrunError

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["warm"]

_POINTS = 1_000  # as a run's page asks for
_ROOMS = (
    "page_home", "page_runs", "page_run", "run_overview", "run_charts", "page_compare",
)  # fmt: skip


def warm(store: Store) -> None:
    """Import the pages that are opened most, and ask a store in a folder what they ask first.

    A gateway has processes that are warm, and is asked nothing in the name of whoever started the dashboard. Failing
    costs nothing: what is wrong shows when somebody asks.
    """
    for name in _ROOMS:
        import_module(f"mlrun.app.board.{name}")
    if answering(store) is not None or not store.exists():
        return
    with suppress(OSError), suppress(MlrunError):
        mlrun.projects(store=store)
        mlrun.runs(limit=20, columns=["name", "state", "started_at"], store=store)
        ids = mlrun.runs(limit=1, columns=["run_id"], store=store)["run_id"].to_list()
        mlrun.metrics(ids, points=_POINTS, store=store)
