"""What one chart of a comparison draws: a line per run, a mean and band per group, or many runs as quantiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from .charts import GREY
from .compare_groups import banded, grid_of, labelled, quantile_bands, smoothed
from .compare_runs import DISTINCT, colors_of
from .look import COLORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .compare_runs import Compared

__all__ = ["CROWDS", "Drawn", "Wanted", "drawn"]

CROWDS = ("quantiles", "every run")
_BANDS = (("q5", "q95"), ("q25", "q75"))


@dataclass(frozen=True)
class Wanted:
    """How the curves of a comparison are to be shown.

    Attributes:
        smooth: what the past counts, 0 to 1.
        by: column whose values make groups; empty for none.
        crowd: how runs that have no colour are shown, of CROWDS.
        marked: ids of the runs that have one where there are too many; the newest if empty.
        logx: x is logarithmic.
    """

    smooth: float = 0.0
    by: str = ""
    crowd: str = CROWDS[0]
    marked: tuple[str, ...] = ()
    logx: bool = False


@dataclass(frozen=True)
class Drawn:
    """A chart's rows (`series, x, y` and the columns that `look` names), its names, their colours, and its look."""

    frame: pl.DataFrame
    names: list[str]
    colors: list[str]
    look: dict[str, Any] = field(default_factory=dict)

    @property
    def bands(self) -> list[tuple[str, str]]:
        """The pairs of columns between which is filled."""
        return list(self.look.get("bands", ()))


def drawn(curves: pl.DataFrame, found: Compared, wanted: Wanted) -> Drawn:
    """Return what is drawn of the curves of one metric.

    Args:
        curves: `run_id, x, y`, each run's in the order of x.
        found: the runs.
        wanted: how.
    """
    rows = smoothed(curves.select(pl.col("run_id").alias("series"), "x", "y"), wanted.smooth)
    if wanted.by and wanted.by in found.frame.columns:
        return _groups(rows, found, wanted)
    called = dict(zip(found.ids, found.names, strict=True))
    if len(called) <= DISTINCT:
        there = [one for one in found.ids if one in set(rows["series"])]
        tone = colors_of(found.ids)
        look = {"raw": "raw"} if wanted.smooth > 0 else {}
        return Drawn(
            _named(rows, called), [called[o] for o in there], [tone[o] for o in there], look
        )
    marked = [one for one in wanted.marked if one in called][:DISTINCT]
    return _crowd(rows, called, marked, wanted)


def _groups(rows: pl.DataFrame, found: Compared, wanted: Wanted) -> Drawn:
    values = dict(zip(found.ids, found.frame[wanted.by].to_list(), strict=True))
    labels = labelled(values)
    grid = grid_of(rows["x"].to_numpy(), log=wanted.logx)
    frame = banded(rows, labels, grid)
    names = list(dict.fromkeys(sorted(labels.values(), key=_in_order)))
    colors = [COLORS[n % len(COLORS)] for n in range(len(names))]
    return Drawn(frame, names, colors, {"bands": [("low", "high")]})


def _crowd(
    rows: pl.DataFrame, called: dict[str, str], marked: Sequence[str], wanted: Wanted
) -> Drawn:
    tone = colors_of(marked)
    names, colors = [called[one] for one in marked], [tone[one] for one in marked]
    if wanted.crowd == CROWDS[1]:
        grey = ~pl.col("series").is_in(list(marked))
        frame = _named(rows.with_columns(grey.alias("faint")), called)
        return Drawn(frame, names, colors, {"faint": "faint"})
    many = f"median of {rows['series'].n_unique()} runs"
    grid = grid_of(rows["x"].to_numpy(), log=wanted.logx)
    bands = quantile_bands(rows, grid, many)
    own = _named(rows.filter(pl.col("series").is_in(list(marked))), called)
    frame = pl.concat([bands, own.select("series", "x", "y")], how="diagonal")
    return Drawn(frame, [many, *names], [GREY, *colors], {"bands": _BANDS})


def _named(rows: pl.DataFrame, called: dict[str, str]) -> pl.DataFrame:
    return rows.with_columns(pl.col("series").replace(called))


def _in_order(label: str) -> tuple[int, float, str]:
    """Order labels as the numbers with which they begin; `none` and `others` come last."""
    if label in ("none", "others"):
        return 2, 0.0, label
    try:
        return 0, float(label.partition(" ")[0]), label
    except ValueError:
        return 1, 0.0, label
