"""The closed syntax tree of `where`: everything that the language can say, and nothing else.

Semantics, the same on every engine:

* A name is a run column (`state`), or dotted: `params.x`, `results.x`, `metrics.x`, `labels.x`; of a metric an aggregate
  is meant (`last` unless the name ends in another one).
* NaN and missing satisfy no comparison; only `is nan`, `is null` (= `is missing`: no value at all) see them.
* `not` is two-valued: it is true exactly where its operand is not true.
* Numbers compare as float64, booleans count as 0/1 in numbers; text compares by code point; a number never equals text.
* `/` is true division; division by zero and arithmetic on NaN or missing give NaN or missing.
* Times compare with times; a text literal beside a time column is read as ISO 8601 (UTC without zone).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
]

AGGREGATES = ("last", "min", "max", "mean", "count", "first_step", "last_step")

Scope = Literal["run", "params", "results", "metrics", "labels"]


@dataclass(frozen=True)
class Name:
    """A run column (`scope="run"`) or an entry of params, results, metrics (with its aggregate) or labels."""

    scope: Scope
    key: str
    aggregate: str = "last"
    position: int | None = None


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
    """`+ - * /` on numbers, and time ± duration, time - time."""

    op: Literal["+", "-", "*", "/"]
    left: Value
    right: Value


@dataclass(frozen=True)
class Neg:
    """Unary minus."""

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
    """`x like 'a%_'` (case-sensitive) or `ilike` (ASCII case folded); `\\` escapes."""

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
