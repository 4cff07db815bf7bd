"""Kinds of values: which may stand beside each other, and what a literal means there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from mlrun.errors import WhereError
from mlrun.where.ast import (
    Arith,
    Compare,
    Expr,
    InList,
    Like,
    Literal_,
    Logic,
    Name,
    Neg,
    Not,
    Value,
)
from mlrun.where.parse_times import DURATION_HINT, TIME_HINT, read_duration, read_time

if TYPE_CHECKING:
    from mlrun.where.parse_names import Kind

__all__ = [
    "Part",
    "arith",
    "as_condition",
    "as_value",
    "compare",
    "in_list",
    "invert",
    "is_nan",
    "like",
    "logic",
    "negate",
    "part",
    "refuse",
]

MAX_DEPTH = 64
_NUMERIC = ("number", "bool", "any")
_ARTICLE = {
    "number": "a number",
    "text": "text",
    "bool": "a boolean",
    "time": "a time",
    "duration": "a duration",
}
CompareOp = Literal["=", "!=", "<", "<=", ">", ">="]
ArithOp = Literal["+", "-", "*", "/"]


@dataclass(frozen=True)
class Part:
    """A piece of a parsed expression: its node, where it starts, what it is, and how deep the tree below it is."""

    node: Any
    start: int
    kind: Kind | Literal["condition"]
    depth: int = 1


def part(
    node: Expr | Value, text: str, start: int, kind: Kind | Literal["condition"], *below: Part
) -> Part:
    """Put a node on top of others; refuses trees that a compiler could not walk."""
    depth = 1 + max((p.depth for p in below), default=0)
    if depth > MAX_DEPTH:
        refuse(f"the expression is nested more than {MAX_DEPTH} deep", text, start)
    return Part(node, start, kind, depth)


def refuse(message: str, text: str, position: int) -> NoReturn:
    """Raise WhereError at a place."""
    raise WhereError(message, text, position)


def as_condition(given: Part, text: str) -> Part:
    """Return the part as a condition: one already, or a name alone, whose value may be true."""
    if given.kind == "condition" or (isinstance(given.node, Name) and given.kind == "any"):
        return given
    if isinstance(given.node, Name):
        refuse(
            f"{_called(given)} is {_ARTICLE[given.kind]}: compare it with something",
            text,
            given.start,
        )
    refuse("a condition is wanted here, as in `metrics.acc > 0.9`", text, given.start)


def as_value(given: Part, text: str) -> Part:
    """Return the part if it is a value and not a condition."""
    if given.kind == "condition":
        chained = isinstance(given.node, Compare)
        hint = ": write `x > 0 and x < 1` or `x between 0 and 1`" if chained else ""
        refuse(f"a value is wanted here, and this is a condition{hint}", text, given.start)
    return given


def logic(op: Literal["and", "or"], terms: list[Part], text: str) -> Part:
    """Join conditions."""
    checked = [as_condition(t, text) for t in terms]
    node = Logic(op, tuple(t.node for t in checked))
    return part(node, text, terms[0].start, "condition", *checked)


def negate(given: Part, text: str, start: int) -> Part:
    """Build unary minus."""
    kind = as_value(given, text).kind
    if kind not in ("number", "any", "duration"):
        refuse(f"{_called(given)} is {_ARTICLE[kind]} and has no negative", text, given.start)
    return part(Neg(given.node), text, start, "duration" if kind == "duration" else "number", given)


def arith(op: ArithOp, left: Part, right: Part, text: str) -> Part:
    """Build `left op right` of numbers, or of times and durations."""
    a, b = as_value(left, text).kind, as_value(right, text).kind
    kind: Kind
    if a in _NUMERIC and b in _NUMERIC and "bool" not in (a, b):
        kind = "number"
    elif op == "-" and a == b == "time":
        kind = "duration"
    elif op in "+-" and b == "duration" and a in ("time", "duration"):
        kind = "time" if a == "time" else "duration"
    elif op == "+" and (a, b) == ("duration", "time"):
        kind = "time"
    else:
        _refuse_arith(op, left, right, text)
    return part(Arith(op, left.node, right.node), text, left.start, kind, left, right)


def _refuse_arith(op: str, left: Part, right: Part, text: str) -> NoReturn:
    kinds = {left.kind, right.kind}
    wrong = right if left.kind in ("number", "any", "time", "duration") else left
    if kinds & {"time", "duration"}:
        if kinds & {"number", "text", "any"}:
            hint = "beside times and durations, `+` and `-` take interval '7 days' or timestamp '2026-01-31'"
            refuse(hint, text, wrong.start)
        refuse(
            f"`{op}` of {_ARTICLE[left.kind]} and {_ARTICLE[right.kind]} has no meaning",
            text,
            left.start,
        )
    refuse(f"`{op}` takes numbers, and this is {_ARTICLE[wrong.kind]}", text, wrong.start)


def compare(op: CompareOp, left: Part, right: Part, text: str) -> Part:
    """Build a comparison; a literal takes the kind of what stands on the other side."""
    as_value(left, text)
    as_value(right, text)
    right = _align(left, right, text)
    left = _align(right, left, text)
    if not _comparable(left.kind, right.kind):
        _refuse_compare(left, right, text)
    return part(Compare(op, left.node, right.node), text, left.start, "condition", left, right)


def in_list(value: Part, items: list[Part], text: str) -> Part:
    """Build `value in (items)`; the items are literals."""
    as_value(value, text)
    aligned = [_align(value, item, text) for item in items]
    for item in aligned:
        if not _comparable(value.kind, item.kind):
            _refuse_compare(value, item, text)
    node = InList(value.node, tuple(i.node for i in aligned))
    return part(node, text, value.start, "condition", value)


def like(value: Part, pattern: Part, ignore_case: bool, text: str) -> Part:
    """Build `value like pattern`."""
    if as_value(value, text).kind not in ("text", "any"):
        refuse(
            f"`like` takes text, and {_called(value)} is {_ARTICLE[value.kind]}", text, value.start
        )
    node = pattern.node
    if not isinstance(node, Literal_) or not isinstance(node.value, str):
        refuse("the pattern is text in quotes, as in 'digits%'", text, pattern.start)
    escapes = len(node.value) - len(node.value.rstrip("\\"))
    if escapes % 2:
        refuse(
            r"the pattern ends in one `\`, which escapes nothing: write `\\`", text, pattern.start
        )
    if len(node.value) > 1000:
        refuse("a pattern has at most 1,000 characters", text, pattern.start)
    return part(Like(value.node, node.value, ignore_case), text, value.start, "condition", value)


def is_nan(value: Part, text: str) -> Part:
    """Check what stands before `is nan`."""
    if as_value(value, text).kind not in ("number", "any"):
        refuse(f"{_called(value)} is {_ARTICLE[value.kind]} and never NaN", text, value.start)
    return value


def invert(condition: Part, negated: bool, text: str) -> Part:
    """Put `not` before a condition, if `negated`."""
    return (
        part(Not(condition.node), text, condition.start, "condition", condition)
        if negated
        else condition
    )


def _comparable(a: str, b: str) -> bool:
    return a == b or (a in _NUMERIC and b in _NUMERIC) or {a, b} == {"any", "text"}


def _align(beside: Part, given: Part, text: str) -> Part:
    """Read a text or number literal as the time or duration that it stands beside."""
    node = given.node
    if not isinstance(node, Literal_) or beside.kind not in ("time", "duration"):
        return given
    if beside.kind == "time" and isinstance(node.value, str):
        at = read_time(node.value)
        if at is None:
            refuse(f"{node.value!r} is no time: {TIME_HINT}", text, given.start)
        return Part(Literal_(at, "time"), given.start, "time")
    if beside.kind == "duration" and node.kind in ("text", "number"):
        return Part(_duration(node, given.start, text), given.start, "duration")
    return given


def _duration(node: Literal_, start: int, text: str) -> Literal_:
    if isinstance(node.value, str):
        span = read_duration(node.value)
    else:
        seconds = float(node.value)
        span = round(seconds * 1_000_000) if abs(seconds) < 1e11 else None
    if span is None:
        refuse(
            f"{node.value!r} is no duration: {DURATION_HINT}, or a number of seconds", text, start
        )
    return Literal_(span, "duration")


def _refuse_compare(left: Part, right: Part, text: str) -> NoReturn:
    known, other = (right, left) if isinstance(left.node, Literal_) else (left, right)
    kinds = {known.kind, other.kind}
    literal = other.node.value if isinstance(other.node, Literal_) else None
    if "time" in kinds:
        hint = f"; {TIME_HINT}"
    elif "duration" in kinds:
        hint = f"; {DURATION_HINT}, or a number of seconds"
    elif literal is not None and known.kind == "text":
        shown = str(literal).lower() if isinstance(literal, bool) else f"{literal:g}"
        hint = f": write '{shown}' in quotes"
    elif isinstance(literal, str):
        hint = ": write a number without quotes"
    else:
        hint = ""
    a = f"{_called(known)} is {_ARTICLE.get(known.kind, 'no time')}"
    b = f"{_called(other)} is {_ARTICLE.get(other.kind, 'a number or text')}"
    refuse(f"{a}, and {b}{hint}", text, other.start)


def _called(given: Part) -> str:
    if isinstance(given.node, Name):
        return f"`{given.node.column}`"
    return "the literal" if isinstance(given.node, Literal_) else "this"
