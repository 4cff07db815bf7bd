"""Which runs are compared, how they are called, and which colour each has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

import polars as pl

import mlrun

from .look import COLORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrun.store import Store

__all__ = ["DISTINCT", "LIVE", "MOST_RUNS", "Compared", "colors_of", "compared", "names_of"]

MOST_RUNS = 1_000
DISTINCT = len(COLORS)  # runs that have a colour of their own
LIVE = frozenset({"created", "pending", "running", "aborting", "pending_retry"})
_NEWEST = 10  # when nobody has chosen
_NAME = 32  # characters


@dataclass(frozen=True)
class Compared:
    """The runs of a comparison.

    Attributes:
        frame: as of `mlrun.runs`, a row per run, in the order in which they were named.
        names: short and unlike each other, in the order of the frame.
        missing: ids that nothing is known of.
        more: whether the filter finds more runs than are compared.
    """

    frame: pl.DataFrame
    names: list[str] = field(default_factory=list)
    missing: tuple[str, ...] = ()
    more: bool = False

    @property
    def ids(self) -> list[str]:
        """The ids, in the order of the frame."""
        return self.frame["run_id"].to_list() if self.frame.height else []

    @property
    def live(self) -> bool:
        """Whether some of them still run."""
        return bool(self.frame.height) and bool(LIVE & set(self.frame["state"]))

    def columns(self, *scopes: str, numeric: bool = False) -> list[str]:
        """Return the columns of `params`, `results` or `metrics` in which some run has a value."""
        heads = tuple(f"{scope}." for scope in scopes)
        return [
            name
            for name, kind in self.frame.schema.items()
            if name.startswith(heads)
            and (kind.is_numeric() or not numeric)
            and self.frame[name].null_count() < self.frame.height
        ]

    @property
    def keys(self) -> list[str]:
        """The metrics that some of the runs have logged."""
        return [name.removeprefix("metrics.") for name in self.columns("metrics")]


def compared(store: Store, ids: Sequence[str], where: str, project: str) -> Compared:
    """Return the runs with these ids; without ids those that a filter finds; without either the newest.

    Raises:
        WhereError: the filter cannot be understood.
    """
    if ids:
        wanted = list(dict.fromkeys(ids))[:MOST_RUNS]
        listed = ", ".join("'" + one.replace("'", "''") + "'" for one in wanted)
        found = mlrun.runs(
            where=f"run_id in ({listed})", children=True, archived=True, order_by=None, store=store
        )
        place = pl.DataFrame({"run_id": wanted}).with_row_index("_place")
        frame = place.join(found, on="run_id", how="inner").sort("_place").drop("_place")
        gone = tuple(one for one in wanted if one not in set(frame["run_id"]))
        return Compared(frame, names_of(frame), gone, len(set(ids)) > MOST_RUNS)
    limit = MOST_RUNS if where else _NEWEST
    frame = mlrun.runs(project or None, where=where or None, limit=limit + 1, store=store)
    return Compared(
        frame.head(limit), names_of(frame.head(limit)), more=bool(where) and frame.height > limit
    )


def names_of(frame: pl.DataFrame) -> list[str]:
    """Return a short name for each run of a frame with `run_id` and `name`, no two alike."""
    short = [_cut(name or "") or f"run {one[-6:]}" for one, name in _named(frame)]
    counts = Counter(short)
    out: list[str] = []
    taken: set[str] = set()
    for name, (one, _) in zip(short, _named(frame), strict=True):
        told = name if counts[name] == 1 else f"{name} {one[-4:]}"
        told = told if told not in taken else f"{name} {one}"
        taken.add(told)
        out.append(told)
    return out


def colors_of(ids: Iterable[str]) -> dict[str, str]:
    """Return a colour for each run: the one that its id asks for, or the next that is free.

    A run keeps it whatever else is compared, as long as older runs do not ask for the same one.
    """
    out: dict[str, str] = {}
    free: list[int] = []
    for one in sorted(ids):
        free = free or list(range(len(COLORS)))
        first = crc32(one.encode()) % len(COLORS)
        place = min(((at - first) % len(COLORS), at) for at in free)[1]
        free.remove(place)
        out[one] = COLORS[place]
    return out


def _named(frame: pl.DataFrame) -> list[tuple[str, str | None]]:
    return frame.select("run_id", "name").rows() if frame.height else []


def _cut(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"
