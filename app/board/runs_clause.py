"""One clause of a `where` from a column, an operator and a value that somebody picked; no Streamlit here.

Clauses are built as trees and printed by `mlrun.where.to_text`, so that names and values are quoted as the language
wants them, and what is printed means what was picked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlrun.errors import WhereError
from mlrun.where import parse, to_text
from mlrun.where.ast import (
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
    Not,
    Now,
    TagIn,
    Value,
)
from mlrun.where.parse_names import SCOPES, kind_of_name
from mlrun.where.parse_times import DURATION_HINT, TIME_HINT, read_duration, read_time

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["added", "clause", "name_of_header", "narrowed", "needs_value", "operators"]

_COMPARE = {"is": "=", "is not": "!=", "<": "<", "≤": "<=", ">": ">", "≥": ">="}
_EMPTY = ("has a value", "has no value")
_ORDERED = ("is", "is not", ">", "≥", "<", "≤")
_WORDS = ("contains", "begins with", "is one of")
_BY_KIND = {
    "text": ("is", "is not", *_WORDS, *_EMPTY),
    "number": (*_ORDERED, "is one of", *_EMPTY, "is NaN"),
    "bool": ("is", "is not", *_EMPTY),
    "time": ("in the last", "after", "before", *_EMPTY),
    "duration": ("longer than", "shorter than", *_EMPTY),
    "any": (*_ORDERED, *_WORDS, *_EMPTY, "is NaN"),
}  # fmt: skip
_TAGS = ("has", "has not")
_BARE = {*_EMPTY, "is NaN"}


def name_of_header(header: str) -> Name:
    """Return the name that the header of a column of `mlrun.runs()` stands for: behind the scope all is its key."""
    scope, dot, key = header.partition(".")
    for known in SCOPES:
        if dot and scope == known:
            return Name(known, key)
    return Name("run", header)


def operators(name: Name) -> tuple[str, ...]:
    """Return the operators that make sense for a column, in words."""
    return _TAGS if name.column == "tags" else _BY_KIND[kind_of_name(name)]


def needs_value(operator: str) -> bool:
    """Whether an operator stands before a value."""
    return operator not in _BARE


def clause(name: Name, operator: str, value: str = "") -> str:
    """Return the text of a clause.

    Args:
        name: of the column.
        operator: one of `operators(name)`.
        value: as it was typed: a number, text, several ones with commas, a time, a duration. Where a column may hold
            either, what reads as a number is one, unless it stands in quotes.

    Raises:
        WhereError: the value is none of the kind that the column holds.
    """
    return to_text(_tree(name, operator, value))


def added(where: str, new: str) -> str:
    """Return a filter with one more clause.

    Raises:
        WhereError: the filter cannot be read.
    """
    if not where.strip():
        return new
    tree = parse(where)
    loose = isinstance(tree, Logic) and tree.op == "or"
    return f"({where.strip()}) and {new}" if loose else f"{where.strip()} and {new}"


def narrowed(where: str, states: Sequence[str]) -> str:
    """Return a filter for runs in one of these states only; without states the filter as it is."""
    if not states:
        return where.strip()
    state = Name("run", "state")
    literals = tuple(Literal_(s, "text") for s in states)
    test: Expr = InList(state, literals) if len(states) > 1 else Compare("=", state, literals[0])
    return added(where, to_text(test))


def _tree(name: Name, operator: str, value: str) -> Expr:
    if operator == "has no value":
        return IsNull(name)
    if operator == "has a value":
        return Not(IsNull(name))
    if operator == "is NaN":
        return IsNaN(name)
    if not value.strip() and operator not in ("is", "is not"):
        raise WhereError("a value is missing")
    if operator in _TAGS:
        return TagIn(value) if operator == "has" else Not(TagIn(value))
    if operator in ("contains", "begins with"):
        pattern = ("%" if operator == "contains" else "") + _escaped(value) + "%"
        return Like(name, pattern, ignore_case=True)
    if operator == "is one of":
        parts = [part.strip() for part in value.split(",")]
        return InList(name, tuple(_literal(name, part) for part in parts if part))
    if operator in ("in the last", "after", "before"):
        return _by_time(name, operator, value)
    if operator in ("longer than", "shorter than"):
        return Compare(">" if operator == "longer than" else "<", name, _span(value))
    return Compare(_COMPARE[operator], name, _literal(name, value))  # type: ignore[arg-type]


def _by_time(name: Name, operator: str, value: str) -> Expr:
    if operator == "in the last":
        since: Value = Arith("-", Now(), _span(value))
        return Compare(">=", name, since)
    moment = read_time(value)
    if moment is None:
        raise WhereError(f"{value!r} is no time: {TIME_HINT}")
    return Compare(">=" if operator == "after" else "<", name, Literal_(moment, "time"))


def _span(value: str) -> Literal_:
    found = read_duration(value)
    if found is None or found < 0:
        raise WhereError(f"{value!r} is no duration: {DURATION_HINT}")
    return Literal_(found, "duration")


def _literal(name: Name, typed: str) -> Literal_:
    kind = kind_of_name(name)
    if kind == "text":
        return Literal_(typed, "text")
    value = typed.strip()
    if kind == "any" and len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return Literal_(value[1:-1], "text")
    if kind in ("any", "bool") and value.lower() in ("true", "false"):
        return Literal_(value.lower() == "true", "bool")
    number = _number(value)
    if number is not None:
        return number
    if kind == "any":
        return Literal_(typed, "text")
    raise WhereError(f"{value!r} is no {'truth value' if kind == 'bool' else 'number'}")


def _number(value: str) -> Literal_ | None:
    try:
        found = float(value)
    except ValueError:
        return None
    if math.isnan(found):
        return None
    whole = found.is_integer() and abs(found) < 2**53
    return Literal_(int(found) if whole else found, "number")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
