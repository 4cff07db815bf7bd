r"""The closed syntax tree of `where`: everything that the language can say, and nothing else.

Semantics, the same on every engine:

* A name is a run column (`state`), or dotted: `params.x`, `results.x`, `metrics.x`, `labels.x`; of a metric an
  aggregate is meant (`last` unless the name ends in another one). `duration` is `finished_at - started_at`, missing
  while one of them is.
* A value is one of: number, text, time, duration, NaN, missing. Numbers are float64; booleans count as 0/1 in numbers;
  text compares by code point; a number never equals text.
* Params and results: `num` and `text` of their row say which it is (a boolean has `num`); a row whose JSON `value` is
  `NaN` is NaN, one whose `value` is `null` is missing like no row at all. A row that has neither `num` nor `text` (a
  list or a dict) is there, and satisfies no comparison. Labels: the same, read from the JSON of `labels`.
* Metrics: no row is missing; a row whose aggregate is null is NaN (`mean = sum / (count - nan)`).
* NaN and missing satisfy no comparison; only `is nan`, `is null` (= `is missing`: no value at all) see them.
* `not` is two-valued: it is true exactly where its operand is not true.
* `/` is true division. Arithmetic is missing where an operand is missing or is no number, else NaN where an operand
  is NaN or the result is undefined: everything divided by zero, `inf - inf`, `inf * 0`, `inf / inf`.
* Times compare with times, durations with durations: both are whole microseconds. A text literal beside a time is read
  as ISO 8601 (UTC without zone), a number literal beside a duration as seconds: the parser does both.
* A name alone is a condition: `params.flag` is `params.flag = true`.
* Ordering: numbers before text, ascending; text before numbers, descending; NaN and missing last both ways (a tie
  among each other); `run_id` descending breaks ties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "AGGREGATES",
    "Arith",
    "Compare",
    "Expr",
    "InList",
    "IsNaN",
    "IsNull",
    "Like",
    "Literal_",
    "Logic",
    "Name",
    "Neg",
    "Not",
    "Now",
    "TagIn",
    "Value",
    "names_in",
]

AGGREGATES = ("last", "min", "max", "mean", "count", "first_step", "last_step")

Scope = Literal["run", "params", "results", "metrics", "labels"]


@dataclass(frozen=True)
class Name:
    """A run column (`scope="run"`) or an entry of params, results, metrics (with its aggregate) or labels.

    `position` is the 0-based offset in the text that was parsed; it takes no part in equality.
    """

    scope: Scope
    key: str
    aggregate: str = "last"
    position: int | None = field(default=None, compare=False)

    @property
    def column(self) -> str:
        """The column of a frame that shows it: `state`, `params.lr`, `metrics.val/acc`, `metrics.acc.max`."""
        if self.scope == "run":
            return self.key
        tail = "" if self.scope != "metrics" or self.aggregate == "last" else f".{self.aggregate}"
        return f"{self.scope}.{self.key}{tail}"


@dataclass(frozen=True)
class Literal_:
    """A bound value: number, text, bool, or microseconds (`kind="time"`, `kind="duration"`)."""

    value: float | int | str | bool
    kind: Literal["number", "text", "bool", "time", "duration"]


@dataclass(frozen=True)
class Now:
    """`now()`: the instant of the query."""


@dataclass(frozen=True)
class Arith:
    """`+ - * /` on numbers; `+ -` also on time ± duration, duration + time, time - time, duration ± duration."""

    op: Literal["+", "-", "*", "/"]
    left: Value
    right: Value


@dataclass(frozen=True)
class Neg:
    """Unary minus, of a number or a duration."""

    value: Value


Value = Name | Literal_ | Now | Arith | Neg


@dataclass(frozen=True)
class Compare:
    """`= != < <= > >=`; false where a side is NaN or missing or the kinds differ (then also `!=`)."""

    op: Literal["=", "!=", "<", "<=", ">", ">="]
    left: Value
    right: Value


@dataclass(frozen=True)
class InList:
    """`x in (1, 2)`: some item is equal."""

    value: Value
    items: tuple[Literal_, ...]


@dataclass(frozen=True)
class Like:
    r"""`x like 'a%_'` (case-sensitive) or `ilike` (ASCII case folded); `\` escapes the next character.

    The whole text must match; `%` is any text, `_` one code point, line ends included. Only text matches.
    """

    value: Value
    pattern: str
    ignore_case: bool = False


@dataclass(frozen=True)
class IsNull:
    """`x is null` / `x is missing`: there is no value."""

    value: Value


@dataclass(frozen=True)
class IsNaN:
    """`x is nan`."""

    value: Value


@dataclass(frozen=True)
class TagIn:
    """`'baseline' in tags`."""

    tag: str


@dataclass(frozen=True)
class Not:
    """True exactly where its operand is not true."""

    expr: Expr


@dataclass(frozen=True)
class Logic:
    """`and` / `or` of two or more."""

    op: Literal["and", "or"]
    terms: tuple[Expr, ...]


Expr = Compare | InList | Like | IsNull | IsNaN | TagIn | Not | Logic | Name


def names_in(node: Expr | Value) -> Iterator[Name]:
    """Yield every name below `node`, left to right, repeated ones too."""
    match node:
        case Name():
            yield node
        case Arith(_, left, right) | Compare(_, left, right):
            yield from names_in(left)
            yield from names_in(right)
        case Logic(_, terms):
            for term in terms:
                yield from names_in(term)
        case Neg(inner) | IsNull(inner) | IsNaN(inner) | InList(inner) | Like(inner):
            yield from names_in(inner)
        case Not(condition):
            yield from names_in(condition)
        case Literal_() | Now() | TagIn():
            return
