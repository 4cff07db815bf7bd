"""Stop conditions: small expressions over numbers and text, read by Python's grammar and never run by Python.

Allowed: names of results and metrics, `results["key"]` and `metrics["key"]`, numbers, text, True, False, None,
comparisons (chains too), `and`, `or`, `not`, `in`, + - * / // % **, `abs`, `min`, `max`, `round`. A name that the child
has not logged makes the comparison that holds it false, so that a condition may name what comes late.
"""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Condition"]

_MAX_LENGTH = 2_000  # characters
_MAX_POWER = 1_024
_TABLES = ("results", "metrics", "params")
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max, "round": round}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}


class _Missing(Exception):
    """A name of the condition is not among the values."""


@dataclass(frozen=True)
class Condition:
    """A condition that can be asked of the results of one child run.

    Example:
        >>> condition = Condition.parse('accuracy >= 0.9 and metrics["val/loss"] < 1')
        >>> condition.holds({"results": {"accuracy": 0.95}, "metrics": {"val/loss": 0.2}})
        True
        >>> condition.holds({"results": {"accuracy": 0.95}})
        False
    """

    text: str
    names: frozenset[str] = frozenset()  # of the results and metrics that it asks for
    _tree: ast.expr = field(default_factory=lambda: ast.Constant(False), repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ConfigError: it is no expression, or holds what is not allowed; points at the place.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"a condition is text such as 'accuracy >= 0.99', not {text!r}")
        if len(text) > _MAX_LENGTH:
            raise ConfigError(f"a condition has at most {_MAX_LENGTH} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"cannot read the condition {text!r}: {error}") from None
        names: set[str] = set()
        _check(tree, text, names)
        return cls(text, frozenset(names), tree)

    def holds(self, outcome: Mapping[str, Any]) -> bool:
        """Whether it holds for a child's `results`, `metrics` (last values) and `params`.

        Numbers that are text count as text; a comparison of what cannot be compared is false.
        """
        try:
            return bool(_value(self._tree, outcome))
        except _Missing:
            return False
        except (TypeError, ValueError, ArithmeticError):
            return False


def _check(node: ast.AST, text: str, names: set[str]) -> None:
    """Raise ConfigError for every kind of node that `_value` does not know."""
    allowed: tuple[type[ast.AST], ...] = (
        ast.BoolOp,
        ast.Compare,
        ast.BinOp,
        ast.UnaryOp,
        ast.List,
        ast.Tuple,
    )
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, (int, float, str, bool, type(None))):
            _refuse(node, text)
        return
    if isinstance(node, ast.Name):
        names.add(node.id)
        return
    if isinstance(node, ast.Subscript):
        key = _key_of(node, text)
        if node.value.id != "params":  # type: ignore[attr-defined]  # `_key_of` lets only names through
            names.add(key)
        return
    if isinstance(node, ast.Call):
        if (
            not isinstance(node.func, ast.Name)
            or node.func.id not in _FUNCTIONS
            or node.keywords
            or not node.args
        ):
            _refuse(node, text)
        for argument in node.args:
            _check(argument, text, names)
        return
    if not isinstance(node, allowed):
        _refuse(node, text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(child, text, names)
        elif not isinstance(child, (ast.boolop, ast.expr_context, *_COMPARE, *_BINARY, *_UNARY)):
            _refuse(node, text)


def _key_of(node: ast.Subscript, text: str) -> str:
    table, key = node.value, node.slice
    named = isinstance(table, ast.Name) and table.id in _TABLES
    if named and isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    _refuse(node, text)


def _refuse(node: ast.AST, text: str) -> NoReturn:
    place = getattr(node, "col_offset", 0)
    raise ConfigError(
        f"a condition compares names, numbers and text; this is not allowed:\n  {text.strip()}\n  {' ' * place}^"
    )


def _value(node: ast.AST, outcome: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _look_up(node.id, outcome)
        case ast.Subscript():
            return _look_up_in(node, outcome)
        case ast.BoolOp():
            return _both(node, outcome)
        case ast.UnaryOp():
            return _UNARY[type(node.op)](_value(node.operand, outcome))
        case ast.BinOp():
            return _binary(node, outcome)
        case ast.Compare():
            return _compare(node, outcome)
        case ast.Call():
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            return _FUNCTIONS[name](*(_value(a, outcome) for a in node.args))
        case ast.List() | ast.Tuple():
            return [_value(e, outcome) for e in node.elts]
    raise TypeError(type(node).__name__)  # `parse` lets nothing else through


def _both(node: ast.BoolOp, outcome: Mapping[str, Any]) -> bool:
    """`and` and `or`, where a missing name makes its own part false and nothing else."""
    wanted = isinstance(node.op, ast.Or)
    for part in node.values:
        try:
            found = bool(_value(part, outcome))
        except _Missing:
            found = False
        if found is wanted:
            return wanted
    return not wanted


def _binary(node: ast.BinOp, outcome: Mapping[str, Any]) -> Any:
    left, right = _value(node.left, outcome), _value(node.right, outcome)
    if not all(isinstance(v, (int, float)) for v in (left, right)):
        raise TypeError("arithmetic is for numbers")
    if isinstance(node.op, ast.Pow) and (abs(right) > _MAX_POWER or abs(left) > 1e100):
        raise ValueError("too large a power")
    return _BINARY[type(node.op)](left, right)


def _compare(node: ast.Compare, outcome: Mapping[str, Any]) -> bool:
    left = _value(node.left, outcome)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = _value(right_node, outcome)
        if not _COMPARE[type(op)](left, right):
            return False
        left = right
    return True


def _look_up(name: str, outcome: Mapping[str, Any]) -> Any:
    for table in ("results", "metrics"):
        values = outcome.get(table) or {}
        if name in values:
            return values[name]
    raise _Missing(name)


def _look_up_in(node: ast.Subscript, outcome: Mapping[str, Any]) -> Any:
    assert isinstance(node.value, ast.Name)
    assert isinstance(node.slice, ast.Constant)
    values = outcome.get(node.value.id) or {}
    if node.slice.value not in values:
        raise _Missing(str(node.slice.value))
    return values[node.slice.value]
