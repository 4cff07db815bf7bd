"""Syntax tree -> text that parses to the same tree: for addresses, hints and logs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

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
from mlrun.where.parse_names import plain_key

__all__ = ["to_text"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_text(node: Expr | Value) -> str:
    """Return the text of an expression, such that `parse(to_text(e)) == e`."""
    match node:
        case Logic(op, terms):
            return f" {op} ".join(_inside(t) for t in terms)
        case Not(inner):
            return _negated(inner)
        case Compare(op, left, right):
            return f"{to_text(left)} {op} {to_text(right)}"
        case InList() | Like() | IsNull() | IsNaN() | TagIn():
            return _test(node)
        case _:
            return _value(node)


def _test(node: InList | Like | IsNull | IsNaN | TagIn, no: str = "") -> str:
    match node:
        case InList(value, items):
            return f"{to_text(value)} {no}in ({', '.join(to_text(i) for i in items)})"
        case Like(value, pattern, ignore_case):
            return f"{to_text(value)} {no}{'ilike' if ignore_case else 'like'} {_quoted(pattern)}"
        case IsNull(value):
            return f"{to_text(value)} is {no}null"
        case IsNaN(value):
            return f"{to_text(value)} is {no}nan"
        case TagIn(tag):
            return f"{_quoted(tag)} {no}in tags"


def _negated(inner: Expr) -> str:
    if isinstance(inner, (InList, Like, IsNull, IsNaN, TagIn)):
        return _test(inner, "not ")
    return f"not {_inside(inner)}"


def _value(node: Value) -> str:
    match node:
        case Name():
            return _name(node)
        case Literal_():
            return _literal(node)
        case Now():
            return "now()"
        case Neg(value):
            return f"-({to_text(value)})"
        case Arith(op, left, right):
            return f"{_operand(left, op, right=False)} {op} {_operand(right, op, right=True)}"


def _inside(node: Expr) -> str:
    """Text of a condition below `and`, `or` or `not`."""
    return f"({to_text(node)})" if isinstance(node, Logic) else to_text(node)


def _operand(node: Value, op: str, *, right: bool) -> str:
    if not isinstance(node, Arith):
        return to_text(node)
    level, outer = node.op in "*/", op in "*/"
    keeps = level > outer or (level == outer and not right)
    return to_text(node) if keeps else f"({to_text(node)})"


def _name(name: Name) -> str:
    if name.scope == "run":
        return name.key
    key, last = name.key, name.key.rpartition(".")[2]
    ambiguous = name.scope == "metrics" and "." in key and last in AGGREGATES
    shown = key if plain_key(key) and not ambiguous else '"' + key.replace('"', '""') + '"'
    tail = f".{name.aggregate}" if name.scope == "metrics" and name.aggregate != "last" else ""
    return f"{name.scope}.{shown}{tail}"


def _literal(literal: Literal_) -> str:
    value = literal.value
    if literal.kind == "time":
        return f"timestamp '{(_EPOCH + timedelta(microseconds=int(value))).isoformat()}'"
    if literal.kind == "duration":
        return f"interval '{int(value)} us'"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
