"""`where` as SQL over `runs r`, every value bound; semantics in `mlrun.where.ast`.

Every name that is no run column becomes a left join, to the one row that a run has of it, so that a condition is a
plain expression over columns: where it can only hold for runs that have the value, PostgreSQL makes the join an inner
one by itself and may begin with the value's index.

A condition compiles to SQL that is true exactly where the condition is, and false or null elsewhere. NaN is stored as
null, so a null number means missing or NaN, and satisfies no comparison by itself.
"""

from __future__ import annotations

import math
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

from .postgres_connect import Listed
from .postgres_schema import HEAD, INDEXED, KINDS, head, name as quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.contracts import OrderKey

__all__ = ["Operand", "Scope"]

_MOST_VALUES = 30_000  # PostgreSQL takes 65,535 parameters
_INT64 = 1 << 63
_HEADED = (*INDEXED, "project", RUNS.key[0])  # run columns whose first characters are indexed
_NOTHING = "false"


@dataclass(frozen=True)
class Operand:
    """SQL of a value: None where no run can have that form of it.

    Attributes:
        num: float8. text: text. us: int8, microseconds of a time or duration. All null where the form is not taken.
        head: what an index holds of the text. short: the text is a literal shorter than that: compared with another
            text's head it gives what it gives with the text.
        missing: condition that there is no value at all. nan: condition that the value is NaN. Both never null.
    """

    num: str | None = None
    text: str | None = None
    us: str | None = None
    head: str | None = None
    short: bool = False
    missing: str = _NOTHING
    nan: str = _NOTHING


class Scope:
    """Compiles for one statement, over one row of `runs r`.

    Args:
        kids: number of every key that is stored.
        now_us: the instant of the query.

    Attributes:
        values: the parameters so far.
        joins: what must stand behind `runs r`.
    """

    def __init__(self, kids: Mapping[str, int], now_us: int) -> None:
        self._kids = kids
        self._now_us = now_us
        self._aliases: dict[tuple[str, str], str] = {}
        self.values: list[Any] = []
        self.joins = ""

    def bound(self, value: Any, kind: str) -> str:
        """Add a value; return the SQL that stands for it."""
        if len(self.values) >= _MOST_VALUES:
            raise QueryError(f"a question holds more than {_MOST_VALUES} values")
        for one in value.values if isinstance(value, Listed) else (value,):
            if isinstance(one, str) and "\0" in one:
                raise QueryError("no text in PostgreSQL holds NUL")
            if type(one) is int and not -_INT64 <= one < _INT64:
                raise QueryError(f"{one} is beyond 64 bits")
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    def condition(self, node: Expr) -> str:
        """Compile a condition."""
        match node:
            case Logic(op, terms):
                return f"({f' {op} '.join(self.condition(t) for t in terms)})"
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
                hole = self.bound(tag, "text")
                return f"exists (select from tags t where t.rid = r.rid and digest(t.tag) = digest({hole}))"
            case Name():
                num = self.operand(node).num
                return _NOTHING if num is None else f"({num} = 1)"

    def operand(self, value: Value) -> Operand:
        """Compile a value."""
        match value:
            case Name():
                return self._name(value)
            case Literal_():
                return self._literal(value)
            case Now():
                return Operand(us=self.bound(self._now_us, "int8"))
            case Neg(inner):
                below = self.operand(inner)
                if below.us is not None:
                    return Operand(us=f"(-{below.us})", missing=below.missing)
                return _number(f"(-{below.num})" if below.num else _NULL, _without_number(below))
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
        if value.scope == "metrics":
            return _summary(value, self._joined("summaries", value.key))
        t = self._joined(value.scope, value.key)
        return Operand(
            num=f"{t}.num",
            text=f"{t}.text",
            head=head(f"{t}.text"),
            missing=f"({t}.rid is null or coalesce({t}.value = 'null', false))",
            nan=f"coalesce(btrim({t}.raw, E' \\t\\n\\r') = 'NaN', false)",
        )

    def _joined(self, table: str, key: str) -> str:
        alias = self._aliases.get((table, key))
        if alias is None:
            alias = self._aliases[table, key] = f"v{len(self._aliases)}"
            kid = self.bound(self._kids.get(key, -1), "int4")
            self.joins += (
                f" left join {table} {alias} on {alias}.rid = r.rid and {alias}.kid = {kid}"
            )
        return alias

    def _literal(self, literal: Literal_) -> Operand:
        if literal.kind in ("time", "duration"):
            return Operand(us=self.bound(int(literal.value), "int8"))
        if isinstance(literal.value, str):
            text = f'{self.bound(literal.value, "text")} collate "C"'
            short = len(literal.value) < HEAD
            return Operand(text=f"({text})", head=f"({text})", short=short)
        number = _float(literal)
        if math.isnan(number):
            return Operand(num=_NULL, nan="true")
        return Operand(num=self.bound(number, "float8"))

    def _compare(self, op: str, left: Value, right: Value) -> str:
        a, b = self.operand(left), self.operand(right)
        sign = "<>" if op == "!=" else op
        pairs = [(a.num, b.num), (a.us, b.us)]
        by_head = (a.short or b.short) and a.head is not None and b.head is not None
        pairs.append((a.head, b.head) if by_head else (a.text, b.text))
        return _any_of([f"{x} {sign} {y}" for x, y in pairs if x is not None and y is not None])

    def _member(self, value: Operand, items: Sequence[Literal_]) -> str:
        times = [int(i.value) for i in items if i.kind in ("time", "duration")]
        texts = [i.value for i in items if i.kind == "text"]
        numbers = [_float(i) for i in items if i.kind in ("number", "bool")]
        numbers = [n for n in numbers if n == n]  # NaN equals nothing
        by_head = value.head is not None and all(len(str(t)) < HEAD for t in texts)
        parts = []
        for form, some, kind, arrow in (
            (value.num, numbers, "float8", "float64"),
            (value.head if by_head else value.text, texts, "text", "string"),
            (value.us, times, "int8", "int64"),
        ):
            if form is not None and some:
                parts.append(f"{form} = any({self.bound(Listed(some, arrow), f'{kind}[]')})")
        return _any_of(parts)

    def _like(self, value: Operand, pattern: str, ignore_case: bool) -> str:
        if value.text is None:
            return _NOTHING
        return f"({value.text} {'ilike' if ignore_case else 'like'} {self.bound(_whole(pattern), 'text')})"


_NULL = "null::float8"


def _whole(pattern: str) -> str:
    r"""Return the pattern without a lone `\` at its end, which PostgreSQL refuses."""
    ends = len(pattern) - len(pattern.rstrip("\\"))
    return pattern[:-1] if ends % 2 else pattern


def _float(literal: Literal_) -> float:
    """Return a number or boolean literal as float64, integers beyond it as infinity."""
    try:
        return float(literal.value)
    except OverflowError:
        return math.inf if literal.value > 0 else -math.inf  # type: ignore[operator]


def _any_of(parts: Sequence[str]) -> str:
    return f"({' or '.join(parts)})" if parts else _NOTHING


def _run_column(key: str) -> Operand:
    if key == "duration":
        us = "(r.finished_at - r.started_at)"
        return Operand(us=us, missing=f"({us} is null)")
    try:
        kind = RUNS.column(key).type
    except KeyError:
        raise QueryError(f"runs have no column {key!r}") from None
    column = f"r.{quoted(key)}"
    missing = f"({column} is null)"
    if KINDS[kind] == "text":
        first = head(column) if key in _HEADED else None
        return Operand(text=column, head=f"({first})" if first else column, missing=missing)
    if kind == "timestamp":
        return Operand(us=column, missing=missing)
    return Operand(num=f"{column}::float8", missing=missing)


def _summary(value: Name, t: str) -> Operand:
    if value.aggregate not in AGGREGATES:
        raise QueryError(f"no such aggregate: {value.aggregate!r}")
    figure = f"{t}.{quoted(value.aggregate)}"
    if value.aggregate == "mean":
        figure = f"over({t}.sum, ({t}.count - {t}.nan)::float8)"
    elif value.aggregate in ("count", "first_step", "last_step"):
        figure = f"{figure}::float8"
    return Operand(
        num=figure,
        missing=f"({t}.rid is null)",
        nan=f"({t}.rid is not null and {figure} is null)",
    )


def _arith(op: str, left: Operand, right: Operand) -> Operand:
    if left.us is not None and right.us is not None:
        return Operand(
            us=f"({left.us} {op} {right.us})", missing=f"({left.missing} or {right.missing})"
        )
    a, b = left.num or _NULL, right.num or _NULL
    result = {
        "+": f"plus({a}, {b})", "-": f"plus({a}, -{b})", "*": f"times({a}, {b})", "/": f"over({a}, {b})",
    }[op]  # fmt: skip
    return _number(result, f"({_without_number(left)} or {_without_number(right)})")


def _without_number(given: Operand) -> str:
    """Whether the operand is neither a number nor NaN."""
    return f"({given.num or _NULL} is null and not {given.nan})"


def _number(result: str, missing: str) -> Operand:
    return Operand(num=result, missing=missing, nan=f"({result} is null and not {missing})")
