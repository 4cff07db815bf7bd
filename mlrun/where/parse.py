"""Text -> syntax tree: operator precedence, one method per thing that can be said.

From loose to tight: `or`, `and`, `not`, comparisons, `+ -`, `* /`, unary `-`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, cast

from mlrun.errors import WhereError, did_you_mean
from mlrun.where import typing as kinds
from mlrun.where.ast import AGGREGATES, Expr, IsNaN, IsNull, Literal_, Name, Now, TagIn
from mlrun.where.parse_cursor import Cursor
from mlrun.where.parse_names import SCOPES, kind_of_name, name_of
from mlrun.where.parse_times import (
    DURATION_HINT,
    TIME_HINT,
    microseconds_of,
    read_duration,
    read_time,
    unit_of,
)
from mlrun.where.typing import Part, part

if TYPE_CHECKING:
    from mlrun.where.parse_tokens import Token

__all__ = ["parse"]

MAX_OPERATORS: Final = 500
MAX_ITEMS: Final = 5_000
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _MINUS = range(1, 8)
_COMPARISONS = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}
_LEVELS = {
    "or": _OR, "and": _AND, "is": _COMPARE, "in": _COMPARE, "like": _COMPARE, "ilike": _COMPARE,
    "between": _COMPARE, "not": _COMPARE, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT,
    **dict.fromkeys(_COMPARISONS, _COMPARE),
}  # fmt: skip
_INVERTIBLE = ("in", "like", "ilike", "between")
_NOTHING = {
    "null": "nothing compares with null: write `x is null`",
    "missing": "nothing compares with missing: write `x is missing`",
    "none": "nothing compares with none: write `x is null`",
    "nan": "nothing compares with nan: write `x is nan`",
}


def parse(text: str) -> Expr:
    """Return the tree of a boolean expression.

    Raises:
        WhereError: the text says something that the language cannot; points at the place and suggests.
    """
    parser = _Parser(text)
    if parser.done():
        raise WhereError("the expression is empty")
    found = kinds.as_condition(parser.expression(_OR), text)
    if not parser.done():
        parser.unexpected()
    return cast(Expr, found.node)


class _Parser(Cursor):
    """Reads tokens left to right; `now` is the next one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.operators = 0

    # -- operators ---------------------------------------------------------------------

    def expression(self, floor: int) -> Part:
        """Read operators that bind at least as tightly as `floor`."""
        self.depth += 1
        if self.depth > kinds.MAX_DEPTH:
            self.refuse(f"the expression is nested more than {kinds.MAX_DEPTH} deep", self.now)
        left = self.prefix()
        while (level := self.level()) >= floor:
            left = self.infix(left, level)
        self.depth -= 1
        return left

    def count(self) -> None:
        """Bound the size of what a compiler must walk and a database must plan."""
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            self.refuse(f"the expression has more than {MAX_OPERATORS} operators", self.now)

    def level(self) -> int:
        token = self.now
        if token.kind not in ("op", "name"):
            return 0
        if token.word == "not" and self.tokens[self.at + 1].word not in _INVERTIBLE:
            return 0
        return _LEVELS.get(token.word or token.op, 0)

    def infix(self, left: Part, level: int) -> Part:
        self.count()
        if level in (_OR, _AND):
            return self.logic(left, level)
        if level == _COMPARE:
            return self.comparison(left)
        op = cast(kinds.ArithOp, self.take().text)
        right = self.expression(level + 1)
        return kinds.arith(op, left, right, self.text)

    def logic(self, left: Part, level: int) -> Part:
        op: Literal["and", "or"] = "or" if level == _OR else "and"
        terms = [left]
        while self.now.word == op:
            self.count()
            self.take()
            terms.append(self.expression(level + 1))
        return kinds.logic(op, terms, self.text)

    def comparison(self, left: Part) -> Part:
        if self.now.op in _COMPARISONS:
            op = cast(kinds.CompareOp, _COMPARISONS[self.take().op])
            return kinds.compare(op, left, self.expression(_SUM), self.text)
        if self.now.word == "is":
            return self.is_what(left)
        negated = self.now.word == "not"
        self.at += negated
        word = self.take().word
        if word == "in":
            found = self.membership(left)
        elif word == "between":
            found = self.between(left)
        else:
            found = kinds.like(left, self.expression(_SUM), word == "ilike", self.text)
        return kinds.invert(found, negated, self.text)

    def is_what(self, left: Part) -> Part:
        self.take()
        negated = self.now.word == "not"
        self.at += negated
        token = self.take()
        if token.word in ("null", "missing"):
            found = part(
                IsNull(kinds.as_value(left, self.text).node),
                self.text,
                left.start,
                "condition",
                left,
            )
        elif token.word == "nan":
            value = kinds.is_nan(left, self.text)
            found = part(IsNaN(value.node), self.text, left.start, "condition", value)
        elif token.word in ("true", "false"):
            literal = Part(Literal_(token.word == "true", "bool"), token.start, "bool")
            found = kinds.compare("=", left, literal, self.text)
        else:
            self.refuse(
                "after `is` comes null, missing, nan, true or false; equality is `=`", token
            )
        return kinds.invert(found, negated, self.text)

    def membership(self, left: Part) -> Part:
        token = self.now
        if token.word == "tags":
            self.take()
            if not isinstance(left.node, Literal_) or not isinstance(left.node.value, str):
                raise WhereError(
                    "a tag is text in quotes: 'baseline' in tags", self.text, left.start
                )
            return part(TagIn(left.node.value), self.text, left.start, "condition")
        if token.op != "(":
            self.refuse("after `in` comes a list: x in (1, 2)", token)
        self.take()
        items = [self.list_item()]
        while self.now.op == ",":
            self.take()
            items.append(self.list_item())
            if len(items) > MAX_ITEMS:
                self.refuse(f"a list has at most {MAX_ITEMS:,} items", self.now)
        self.expect(")", " at the end of the list")
        return kinds.in_list(left, items, self.text)

    def list_item(self) -> Part:
        if self.now.op == ")":
            self.refuse("a list has at least one item", self.now)
        start = self.now
        found = self.prefix()
        if not isinstance(found.node, Literal_):
            self.refuse("a list holds numbers, texts and booleans only", start)
        return found

    def between(self, left: Part) -> Part:
        low = self.expression(_SUM)
        self.expect("and", " in between: x between 1 and 2")
        high = self.expression(_SUM)
        bounds = [
            kinds.compare(">=", left, low, self.text),
            kinds.compare("<=", left, high, self.text),
        ]
        return kinds.logic("and", bounds, self.text)

    # -- operands ----------------------------------------------------------------------

    def prefix(self) -> Part:
        """Read one operand, with what stands before it."""
        token = self.now
        if token.kind == "name":
            return self.word(token)
        if token.kind == "number":
            return self.number("")
        if token.kind == "text":
            self.take()
            return part(Literal_(token.text, "text"), self.text, token.start, "text")
        if token.op == "(":
            self.take()
            found = self.expression(_OR)
            self.expect(")", "")
            return found
        if token.op == "-":
            self.take()
            if self.now.kind == "number" or self.now.word in ("inf", "infinity"):
                return self.number("-")
            return kinds.negate(self.expression(_MINUS), self.text, token.start)
        self.unexpected()

    def number(self, sign: str) -> Part:
        token = self.take()
        start = token.start - len(sign)
        value = float(sign + token.text)
        if value in (float("inf"), float("-inf")) and token.kind == "number":
            self.refuse("this number is too large; the largest is inf", token)
        return part(Literal_(value, "number"), self.text, start, "number")

    def word(self, token: Token) -> Part:
        word = token.word
        if word in ("inf", "infinity"):
            return self.number("")
        if word in _NOTHING:
            self.refuse(_NOTHING[word], token)
        if word in ("interval", "timestamp") and self.tokens[self.at + 1].kind in (
            "text",
            "number",
        ):
            return self.time_literal()
        if word in _LEVELS and word != "not":
            self.unexpected()
        self.take()
        if word == "not":
            found = kinds.as_condition(self.expression(_NOT), self.text)
            return kinds.invert(
                Part(found.node, token.start, "condition", found.depth), True, self.text
            )
        if word in ("true", "false"):
            return part(Literal_(word == "true", "bool"), self.text, token.start, "bool")
        if self.now.op == "(":
            return self.call(token)
        name = self.name(token)
        return part(name, self.text, token.start, kind_of_name(name))

    def name(self, token: Token) -> Name:
        """Resolve a name; one that follows an operator without space may be the rest of a key."""
        try:
            return name_of(token, self.text)
        except WhereError:
            before = self.tokens[max(0, self.at - 3) : self.at - 1]
            tight = (
                len(before) == 2
                and before[0].end == before[1].start
                and before[1].end == token.start
            )
            if (
                tight
                and before[0].parts
                and before[0].parts[0][0] in SCOPES
                and before[1].kind == "op"
            ):
                scope, _, key = self.text[before[0].start : token.end].partition(".")
                hint = f'no column {token.text!r}: if this is one key, write {scope}."{key}"'
                raise WhereError(hint, self.text, token.start) from None
            raise

    def call(self, token: Token) -> Part:
        if token.word == "now":
            self.take()
            self.expect(")", ": now() takes nothing")
            return part(Now(), self.text, token.start, "time")
        name = token.text
        inner = self.tokens[self.at + 1].text
        aggregate = {"avg": "mean", "first": "first_step"}.get(token.word, token.word)
        if aggregate in AGGREGATES:
            hint = f"write {inner if inner.startswith('metrics.') else 'metrics.<key>'}.{aggregate}"
            self.refuse(f"an aggregate is the last part of the name: {hint}", token)
        self.refuse(
            f"no function {name!r}{did_you_mean(name, ('now',)) or ': the only one is now()'}",
            token,
        )

    def time_literal(self) -> Part:
        """Read `interval '7 days'`, `interval '7' day`, `timestamp '2026-01-31'`."""
        word, token = self.take(), self.take()
        if word.word == "timestamp":
            at = read_time(token.text)
            if at is None or token.kind != "text":
                self.refuse(f"{token.text!r} is no time: {TIME_HINT}", token)
            return part(Literal_(at, "time"), self.text, word.start, "time")
        span = read_duration(token.text)
        amount = token.text.strip()
        if re.fullmatch(r"[0-9]{1,18}(\.[0-9]{0,6})?", amount) and (unit := unit_of(self.now.word)):
            self.take()
            span = microseconds_of(amount, unit)
        if span is None:
            long = re.search(r"month|year|quarter", token.text + self.now.text, re.IGNORECASE)
            hint = "months and years have no fixed length; " if long else ""
            self.refuse(f"{token.text!r} is no duration: {hint}{DURATION_HINT}", token)
        return part(Literal_(span, "duration"), self.text, word.start, "duration")
