"""`where` as SQL over `runs r`, every value bound; semantics in `mlrun.where.ast`.

A condition compiles to SQL that is true exactly where the condition is, and false or null elsewhere. NaN is stored as
null, so a null number means missing or NaN, and satisfies no comparison by itself.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrun.errors import QueryError
from mlrun.tables import RUNS
from mlrun.where.ast import (
    AGGREGATES,
    Arith,
    Compare,
    Expr,
    InList,
    IsNaN,
    IsNull,
    Like,
    Literal_,
    Logic,
    Name,
    Neg,
    Not,
    Now,
    TagIn,
    Value,
)

from .sqlite_schema import name as quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.contracts import OrderKey

__all__ = ["Bound", "Operand", "Scope", "glob", "literal_number", "some"]

_TEXT = ("string", "json")
_BLANKS = "char(32, 9, 10, 13)"
_PARAMETER = re.compile(r"\?(\d+)")
_MOST_VALUES = 30_000  # SQLite takes 32,766 parameters


class Bound:
    """The parameters of one statement."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __call__(self, value: Any) -> str:
        """Add a value; return the SQL that stands for it."""
        if len(self.values) >= _MOST_VALUES:
            raise QueryError(f"a question holds more than {_MOST_VALUES} values")
        self.values.append(value)
        return f"?{len(self.values)}"

    def used(self, sql: str) -> tuple[str, list[Any]]:
        """Return `sql` and the values that occur in it: a driver takes no others."""
        places: dict[str, int] = {}
        text = _PARAMETER.sub(lambda m: f"?{places.setdefault(m[1], len(places) + 1)}", sql)
        return text, [self.values[int(number) - 1] for number in places]

    def fill(self, sql: str, values: Sequence[Any]) -> str:
        """Add values; return `sql` with a numbered parameter for each of its `?`."""
        first, *others = sql.split("?")
        return first + "".join(self(v) + piece for v, piece in zip(values, others, strict=True))


@dataclass(frozen=True)
class Operand:
    """SQL of a value: None where no run can have that form of it.

    Attributes:
        num: real. text: text. us: integer, microseconds of a time or duration. All null where the form is not taken.
        missing: condition that there is no value at all. nan: condition that the value is NaN.
    """

    num: str | None = None
    text: str | None = None
    us: str | None = None
    missing: str = "0"
    nan: str = "0"


def literal_number(literal: Literal_) -> float:
    """Return a number or boolean literal as float64, integers beyond it as infinity."""
    try:
        return float(literal.value)
    except OverflowError:
        return math.inf if literal.value > 0 else -math.inf  # type: ignore[operator]


def some(rows: str) -> str:
    """Return the condition that there are rows.

    Newer versions of SQLite make a join of `exists`, and may then begin with its table: the plan is ours to choose.
    """
    return f"((select 1 {rows} limit 1) is not null)"


def glob(pattern: str) -> str:
    r"""Return the GLOB pattern, which minds case, of a LIKE pattern with `\` for escapes."""
    out, escaped = [], False
    for char in pattern:
        if escaped or char not in "\\%_":
            out.append(f"[{char}]" if char in "*?[" else char)
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            out.append("*" if char == "%" else "?")
    return "".join(out)


class Scope:
    """Compiles for one statement, over one row of `runs r`.

    Args:
        kids: number of every key that is stored.
        now_us: the instant of the query.
    """

    def __init__(self, kids: Mapping[str, int], now_us: int) -> None:
        self._kids = kids
        self._now_us = now_us
        self.bound = Bound()

    def condition(self, node: Expr) -> str:
        """Compile a condition."""
        match node:
            case Logic(op, terms):
                return _balanced(f" {op} ", [self.condition(t) for t in terms])
            case Not(inner):
                return f"(({self.condition(inner)}) is not true)"
            case Compare(op, left, right):
                return self._compare(op, left, right)
            case InList(value, items):
                return self._member(self.operand(value), items)
            case Like(value, pattern, ignore_case):
                return self._like(self.operand(value), pattern, ignore_case)
            case IsNull(value):
                return self.operand(value).missing
            case IsNaN(value):
                return self.operand(value).nan
            case TagIn(tag):
                return some(f"from tags where rid = r.rid and tag = {self.bound(tag)}")
            case Name():
                num = self.operand(node).num
                return "0" if num is None else f"({num} = 1.0)"

    def operand(self, value: Value) -> Operand:
        """Compile a value."""
        match value:
            case Name():
                return self._name(value)
            case Literal_():
                return self._literal(value)
            case Now():
                return Operand(us=self.bound(self._now_us))
            case Neg(inner):
                below = self.operand(inner)
                if below.us is not None:
                    return Operand(us=f"(-{below.us})", missing=below.missing)
                return _number(f"(-{below.num or 'null'})", _without_number(below))
            case Arith(op, left, right):
                return _arith(op, self.operand(left), self.operand(right))

    def order(self, keys: Sequence[OrderKey]) -> str:
        """Return what stands behind `order by`: NaN and missing last, then the newest run first."""
        terms = []
        for key in keys:
            value = self.operand(key.name)
            forms = [f for f in (value.num, value.text, value.us) if f is not None]
            way = "desc" if key.descending else "asc"
            terms += [f"{f} {way} nulls last" for f in (forms[::-1] if key.descending else forms)]
        return ", ".join([*terms, f"r.{RUNS.key[0]} desc"])

    def _name(self, value: Name) -> Operand:
        if value.scope == "run":
            return _run_column(value.key)
        kid = self.bound(self._kids.get(value.key, -1))
        if value.scope == "metrics":
            return _summary(value, kid)
        row = f"from {value.scope} where rid = r.rid and kid = {kid}"
        known = some(f"{row} and trim(value, {_BLANKS}) <> 'null'")
        return Operand(
            num=f"(select num {row})",
            text=f"(select text {row})",
            missing=f"not {known}",
            nan=some(f"{row} and trim(value, {_BLANKS}) = 'NaN'"),
        )

    def _literal(self, literal: Literal_) -> Operand:
        if literal.kind in ("time", "duration"):
            return Operand(us=self.bound(int(literal.value)))
        if isinstance(literal.value, str):
            return Operand(text=self.bound(literal.value))
        number = literal_number(literal)
        if math.isnan(number):
            return Operand(num="null", nan="1")
        return Operand(num=self.bound(number))

    def _compare(self, op: str, left: Value, right: Value) -> str:
        a, b = self.operand(left), self.operand(right)
        sign = "<>" if op == "!=" else op
        pairs = [(a.num, b.num), (a.text, b.text), (a.us, b.us)]
        return _any_of([f"{x} {sign} {y}" for x, y in pairs if x is not None and y is not None])

    def _member(self, value: Operand, items: Sequence[Literal_]) -> str:
        found = [self._literal(i) for i in items]
        parts = []
        for form, some in (
            (value.num, [i.num for i in found]),
            (value.text, [i.text for i in found]),
            (value.us, [i.us for i in found]),
        ):
            among = [s for s in some if s is not None and s != "null"]
            if form is not None and among:
                parts.append(f"{form} in ({', '.join(among)})")
        return _any_of(parts)

    def _like(self, value: Operand, pattern: str, ignore_case: bool) -> str:
        if value.text is None:
            return "0"
        if ignore_case:
            return f"({value.text} like {self.bound(pattern)} escape '\\')"
        return f"({value.text} glob {self.bound(glob(pattern))})"


def _any_of(parts: Sequence[str]) -> str:
    return f"({' or '.join(parts)})" if parts else "0"


def _balanced(joint: str, parts: Sequence[str]) -> str:
    """Join as a balanced tree: SQLite refuses expressions deeper than 1,000."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_balanced(joint, parts[:half])}{joint}{_balanced(joint, parts[half:])})"


def _run_column(key: str) -> Operand:
    if key == "duration":
        us = "(r.finished_at - r.started_at)"
        return Operand(us=us, missing=f"{us} is null")
    try:
        kind = RUNS.column(key).type
    except KeyError:
        raise QueryError(f"runs have no column {key!r}") from None
    column = f"r.{quoted(key)}"
    if kind in _TEXT:
        return Operand(text=column, missing=f"{column} is null")
    if kind == "timestamp":
        return Operand(us=column, missing=f"{column} is null")
    return Operand(num=f"cast({column} as real)", missing=f"{column} is null")


def _summary(value: Name, kid: str) -> Operand:
    if value.aggregate not in AGGREGATES:
        raise QueryError(f"no such aggregate: {value.aggregate!r}")
    row = f"from summaries where rid = r.rid and kid = {kid}"
    figure = value.aggregate
    if figure == "mean":
        figure = "sum / nullif(count - nan, 0)"
    elif figure in ("count", "first_step", "last_step"):
        figure = f"cast({figure} as real)"
    return Operand(
        num=f"(select {figure} {row})",
        missing=f"not {some(row)}",
        nan=some(f"{row} and ({figure}) is null"),
    )


def _arith(op: str, left: Operand, right: Operand) -> Operand:
    if left.us is not None and right.us is not None:
        return Operand(
            us=f"({left.us} {op} {right.us})", missing=f"({left.missing} or {right.missing})"
        )
    a, b = left.num or "null", right.num or "null"
    divisor = f"nullif({b}, 0.0)" if op == "/" else b
    return _number(
        f"({a} {op} {divisor})", f"({_without_number(left)} or {_without_number(right)})"
    )


def _without_number(given: Operand) -> str:
    """Whether the operand is neither a number nor NaN."""
    return f"({given.num or 'null'} is null and not {given.nan})"


def _number(result: str, missing: str) -> Operand:
    return Operand(num=result, missing=missing, nan=f"({result} is null and not {missing})")
