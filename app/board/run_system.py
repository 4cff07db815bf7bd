"""System metrics of a run: what its host had to bear meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlrun

from . import session
from .run_charts import Grid, grid
from .run_live import goes_on, kept
from .run_media import again
from .states import empty
from .words import short

if TYPE_CHECKING:
    import polars as pl

    from mlrun.view import RunView

__all__ = ["draw"]

_AXES = (
    "relative",
    "time",
)  # the step of a sample is its second since 1970, which nobody wants to read


def draw(view: RunView) -> None:
    """Draw the room."""
    seen = (view.id, view.state, again(view))
    known = kept("system keys", seen, lambda: _latest(view.id))
    if known.is_empty():
        empty(
            "No samples yet" if goes_on(view) else "No samples",
            "Processor, memory, disk, network and GPUs are sampled every 10 seconds, unless system_metrics is off.",
        )  # fmt: skip
        return
    last: dict[str, float] = dict(known.select("key", "value").iter_rows())
    chosen = Grid(sorted(last), axes=_AXES)
    page = chosen.page()
    question: tuple[Any, ...] = (*seen, tuple(page), *chosen.asked().values())
    points = kept("system", question, lambda: _points(view.id, page, chosen.asked()))
    grid(chosen, page, points, {k: f"last {short(last[k])}" for k in page})


def _points(run_id: str, keys: list[str], asked: dict[str, Any]) -> pl.DataFrame:
    return mlrun.metrics(run_id, keys=keys, system=True, store=session.store(), **asked)


def _latest(run_id: str) -> pl.DataFrame:
    """Return the newest value of every key."""
    few = mlrun.metrics(run_id, points=4, x="time", system=True, store=session.store())
    return few.sort("time").unique("key", keep="last").sort("key")
