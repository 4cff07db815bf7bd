"""What the runs page asks: a question, its arguments, and the Python that asks the same; no Streamlit here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

import mlrun
from mlrun.errors import WhereError
from mlrun.where import parse, parse_columns, parse_order, to_text

from .runs_clause import name_of_header, narrowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrun.store import Store
    from mlrun.where.ast import Name

__all__ = [
    "COUNTED",
    "NEWEST",
    "Question",
    "automatic",
    "newest",
    "readable",
    "sample",
    "titles",
    "together",
]

NEWEST = "-started_at"
COUNTED = 2_000  # matching runs that are counted at once; whoever pages on has more counted
_SAMPLE = 100  # newest runs of which the names of parameters, results and metrics are taken
_OWN = ("name", "state", "project", "started_at", "duration")
_FEW = 3  # of parameters, results and metrics each, where nobody has chosen


@dataclass(frozen=True)
class Question:
    """Which runs, in which order, with which columns.

    Attributes:
        project: empty for all.
        where: a filter that can be read, states included.
        order: as `order_by`.
        columns: names in the language of `where`.
        children: also iterations, retries and steps.
        archived: also archived ones.
        size: rows of a page.
        page: from 1.
    """

    project: str = ""
    where: str = ""
    order: str = NEWEST
    columns: tuple[str, ...] = ()
    children: bool = False
    archived: bool = False
    size: int = 50
    page: int = 1

    @property
    def meant(self) -> tuple[Any, ...]:
        """What decides which runs there are, in any order."""
        return self.project, self.where, self.children, self.archived

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `mlrun.runs` for all runs that are meant, those that are not its defaults."""
        told: dict[str, Any] = {"project": self.project, "where": self.where}
        told["order_by"] = self.order if self.order != NEWEST else ""
        told |= {
            "columns": list(self.columns),
            "children": self.children,
            "archived": self.archived,
        }
        return {name: value for name, value in told.items() if value}

    def rows(self, store: Store) -> pl.DataFrame:
        """Return the page: the columns, and `run_id`."""
        asked = dict.fromkeys(("run_id", "name", "project", "state", *self.columns))
        told = self.arguments() | {"columns": list(asked), "limit": self.size}
        return mlrun.runs(**told, offset=(self.page - 1) * self.size, store=store)

    def again(self, store: Store, run_ids: Sequence[str]) -> pl.DataFrame:
        """Return of these runs what changes while they run: their own columns, and those of metrics."""
        quoted = ", ".join("'" + r.replace("'", "''") + "'" for r in run_ids)
        moving = [n.column for n in parse_columns(self.columns) if n.scope in ("run", "metrics")]
        asked = dict.fromkeys(("run_id", "name", "state", *moving))
        return mlrun.runs(
            where=f"run_id in ({quoted})", columns=list(asked), children=True, archived=True,
            store=store,
        )  # fmt: skip

    def count(self, store: Store, most: int) -> int:
        """Return how many runs are meant, at most `most`."""
        told = self.arguments() | {"columns": ["run_id"], "limit": most}
        return mlrun.runs(**told, store=store).height

    def everything(self, store: Store) -> pl.DataFrame:
        """Return all runs that are meant, with `run_id` and the columns."""
        asked = dict.fromkeys(("run_id", *self.columns))
        return mlrun.runs(**(self.arguments() | {"columns": list(asked)}), store=store)

    def line(self) -> str:
        """Return the Python that asks for all runs that are meant."""
        told = self.arguments()
        project = told.pop("project", None)
        said = [] if project is None else [repr(project)]
        said += [f"{name}={value!r}" for name, value in told.items()]
        line = f"mlrun.runs({', '.join(said)})"
        if len(line) > 100:
            line = "mlrun.runs(\n" + "".join(f"    {part},\n" for part in said) + ")"
        return f"import mlrun\n\n{line}"


def readable(where: str, states: Sequence[str], order: str) -> tuple[str, str]:
    """Return the filter with its states and the order, if both can be read.

    Raises:
        WhereError: one of them cannot; the message points at the place in what was typed.
    """
    if where.strip():
        parse(where)
    parse_order(order)
    return narrowed(where, states), order


def newest(store: Store, project: str) -> pl.DataFrame:
    """Return the newest runs of a project with all their columns, children and archived ones too."""
    return mlrun.runs(project or None, limit=_SAMPLE, children=True, archived=True, store=store)


def sample(store: Store, question: Question) -> pl.DataFrame:
    """Return some of the runs that are meant, with all their columns."""
    told = {k: v for k, v in question.arguments().items() if k not in ("columns", "order_by")}
    return mlrun.runs(**told, limit=_SAMPLE // 4, store=store)


def together(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Return the runs of both samples."""
    if other.is_empty():
        return one
    kinds = {c: pl.String for c in one.columns if _unlike(one, other, c)}
    both = [one.cast(kinds), other.cast(kinds)]  # type: ignore[arg-type]
    return pl.concat(both, how="diagonal_relaxed").unique("run_id", maintain_order=True)


def _unlike(one: pl.DataFrame, other: pl.DataFrame, column: str) -> bool:
    if column not in other.columns:
        return False
    kinds = {one.schema[column], other.schema[column]}
    return len(kinds) > 1 and not all(kind.is_numeric() for kind in kinds)


def titles(sampled: pl.DataFrame, also: Iterable[str] = ()) -> dict[str, str]:
    """Return the columns that can be shown: their text in the language, and how they are called.

    Args:
        sampled: runs with all their columns.
        also: more titles, for instance those of the address; what is none is left out.
    """
    names = [name_of_header(c) for c in sampled.columns if sampled[c].dtype != pl.Null]
    for text in also:
        try:
            names += parse_columns([text])
        except WhereError:
            named = name_of_header(text)
            names += [] if named.scope == "run" else [named]
    found: dict[str, Name] = {}
    for name in names:
        found.setdefault(
            name.column, name
        )  # two names may have one title; the frame has room for one
    return {to_text(name): title for title, name in found.items()}


def automatic(sampled: pl.DataFrame, project: str) -> tuple[str, ...]:
    """Return the columns that are shown when nobody has chosen: the run's own, and a few of each scope."""
    chosen = [c for c in _OWN if c != "project" or not project]
    for scope in ("metrics", "results", "params"):
        mine = [c for c in sampled.columns if c.startswith(f"{scope}.")]
        filled = sorted(mine, key=lambda c: (sampled[c].null_count(), c))
        chosen += [to_text(name_of_header(c)) for c in sorted(filled[:_FEW])]
    return (*chosen, "tags")
