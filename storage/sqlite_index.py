"""What an index answers by itself: the runs of a condition, and runs in the order of a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlrun.tables import RUNS
from mlrun.where.ast import Compare, InList, Literal_, Logic, Name, TagIn

from .sqlite_schema import VISIBLE, name as quoted
from .sqlite_where import literal_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.contracts import RunQuery
    from mlrun.where.ast import Expr, Value

__all__ = ["RUN_IDS", "Entries", "Order", "order_of", "project_entries", "sources"]

_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_RUN_ID = RUNS.key[0]
_TEXTS = ("state", "name", "parent", "group", _RUN_ID)  # run columns that have an index
_NEWEST = "started_at"


@dataclass(frozen=True)
class Entries:
    """One stretch of one index.

    Attributes:
        table: whose rows have a `rid`.
        column: by which the stretch is ordered (ties by rid), as SQL.
        where: condition with `?` for every value of `values`.
    """

    table: str
    column: str
    where: str
    values: tuple[Any, ...] = ()

    def limited(self, where: str, value: Any) -> Entries:
        """Return the part of the stretch that satisfies one more condition."""
        return replace(self, where=f"{self.where} and {where}", values=(*self.values, value))


@dataclass(frozen=True)
class Order:
    """Stretches that, one after the other, hold runs in the order of a value.

    Attributes:
        rest: whether runs without the value may be asked for, and come after all others.
    """

    stretches: tuple[Entries, ...]
    descending: bool
    rest: bool


RUN_IDS = Entries("runs", _RUN_ID, "present")


def _forms(name: Value, kids: Mapping[str, int]) -> tuple[Entries, Entries | None] | None:
    """Return the indexes over the numbers and the texts of a name; None if it has no index."""
    if not isinstance(name, Name):
        return None
    if name.scope == "run":
        return None
    kid = (kids.get(name.key, -1),)
    if name.scope == "metrics":
        if name.aggregate != "last":
            return None
        return Entries("summaries", "last", "kid = ? and last is not null", kid), None
    num = Entries(name.scope, "num", "kid = ? and num is not null", kid)
    return num, Entries(name.scope, "text", "kid = ? and text is not null", kid)


def sources(node: Expr, kids: Mapping[str, int]) -> list[Entries] | None:
    """Return stretches whose runs are all those that satisfy a condition; None if no index can tell."""
    match node:
        case Logic("or", terms):
            found = [sources(t, kids) for t in terms]
            return None if None in found else [e for some in found for e in some or ()]
        case Compare(op, Name() as left, Literal_() as right) if op != "!=":
            return _compared(left, op, (right,), kids)
        case Compare(op, Literal_() as left, Name() as right) if op != "!=":
            return _compared(right, _FLIPPED[op], (left,), kids)
        case InList(Name() as value, items):
            return _compared(value, "=", items, kids)
        case TagIn(tag):
            return [Entries("tags", "tag", "tag = ?", (tag,))]
        case Name():
            return _compared(node, "=", (Literal_(True, "bool"),), kids)
    return None


def _compared(
    name: Name, op: str, literals: Sequence[Literal_], kids: Mapping[str, int]
) -> list[Entries] | None:
    if name.scope == "run":
        return _run_column(name.key, op, literals)
    forms = _forms(name, kids)
    if forms is None:
        return None
    texts: list[Any] = [i.value for i in literals if i.kind == "text"]
    numbers: list[Any] = [literal_number(i) for i in literals if i.kind in ("number", "bool")]
    numbers = [n for n in numbers if n == n]  # NaN equals nothing
    return [
        _stretch(stretch, op, values)
        for stretch, values in zip(forms, (numbers, texts), strict=True)
        if stretch is not None and values
    ]


def _stretch(stretch: Entries, op: str, values: Sequence[Any]) -> Entries:
    if len(values) == 1:
        return stretch.limited(f"{stretch.column} {op} ?", values[0])
    holes = ", ".join("?" * len(values))
    return Entries(
        stretch.table,
        stretch.column,
        f"{stretch.where} and {stretch.column} in ({holes})",
        (*stretch.values, *values),
    )


def _run_column(key: str, op: str, literals: Sequence[Literal_]) -> list[Entries] | None:
    if key not in _TEXTS or op != "=":
        return None
    values = [i.value for i in literals if i.kind == "text"]
    column = quoted(key)
    return (
        [_stretch(Entries("runs", column, f"{column} is not null"), op, values)] if values else []
    )


def project_entries(query: RunQuery) -> Entries | None:
    """Return the visible runs of the query's project; None if there is no such index."""
    if query.project is None or query.children or query.archived or query.deleted:
        return None
    return Entries("runs", _NEWEST, f"{VISIBLE} and project = ?", (query.project,))


def order_of(query: RunQuery, terms: Sequence[Expr], kids: Mapping[str, int]) -> Order | None:
    """Return where the runs lie in the order of the first key; None if no index has it.

    Args:
        query: whose order it is.
        terms: conditions that all hold; those about the same value shorten the stretches.
        kids: number of every key that is stored.
    """
    if not query.order_by:
        return Order((RUN_IDS,), True, False)
    first = query.order_by[0]
    if first.name == Name("run", _RUN_ID):
        return Order((RUN_IDS,), first.descending, False)
    if first.name == Name("run", _NEWEST):
        some = f"{_NEWEST} is not null"
        all_of = Entries("runs", _NEWEST, f"present and {some}")
        if not (query.children or query.archived or query.deleted):
            mine = project_entries(query)
            where = VISIBLE if mine is None else mine.where
            all_of = Entries(
                "runs", _NEWEST, f"{where} and {some}", () if mine is None else mine.values
            )
        return Order((all_of,), first.descending, True)
    forms = _forms(first.name, kids)
    if forms is None:
        return None
    stretches = [f for f in forms if f is not None]
    narrowed = _narrowed(first.name, terms, kids)
    if narrowed is not None:
        return Order((narrowed,), first.descending, False)
    return Order(tuple(stretches[::-1] if first.descending else stretches), first.descending, True)


def _narrowed(name: Value, terms: Sequence[Expr], kids: Mapping[str, int]) -> Entries | None:
    """Return the stretch in which conditions on the same value hold; None if there are none."""
    found: Entries | None = None
    for term in terms:
        if not isinstance(term, Compare) or name not in (term.left, term.right):
            continue
        some = sources(term, kids)
        if some is None or len(some) != 1:
            continue
        [one] = some
        if found is None:
            found = one
        elif found.column == one.column:
            found = found.limited(one.where.rsplit(" and ", 1)[1], one.values[-1])
    return found
