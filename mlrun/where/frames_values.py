"""Values of `where` as Polars expressions over one row a run.

Every value is up to three columns, of which at most one is not null: a number (float64), a text, or microseconds. NaN
is null there, because Polars says that NaN equals itself; a flag beside them tells it from missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.where.ast import Arith, Literal_, Name, Neg, Now, Value
from mlrun.where.parse_names import RUN_COLUMNS, kind_of_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Operand", "entries_of", "operand_of"]

_FALSE = pl.lit(False)
_TRUE = pl.lit(True)


@dataclass(frozen=True)
class Operand:
    """A value: None where no run can have that form of it.

    Attributes:
        num: Float64. text: String. us: Int64, microseconds of a time or duration. All null where the form is not taken.
        missing: there is no value at all. nan: the value is NaN.
    """

    num: pl.Expr | None = None
    text: pl.Expr | None = None
    us: pl.Expr | None = None
    missing: pl.Expr = _FALSE
    nan: pl.Expr = _FALSE


def entries_of(name: Name, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return `run_id, num, text, there, nan` of one param, result, label or metric, one row a run that has it.

    Args:
        name: not a run column.
        tables: `runs`, `params`, `results` and `summaries`.
    """
    if name.scope == "labels":
        return _labels(name.key, tables["runs"])
    nothing = pl.lit(None, pl.String)
    if name.scope == "metrics":
        rows = tables["summaries"].filter(pl.col("key") == pl.lit(name.key))
        num = _summary(name.aggregate).cast(pl.Float64)
        found = rows.select("run_id", num=num, text=nothing, there=_TRUE, nan=num.is_null())
    else:
        rows = tables[name.scope].filter(pl.col("key") == pl.lit(name.key))
        value = pl.col("value").str.strip_chars()
        there, nan = (value != "null").fill_null(False), (value == "NaN").fill_null(False)
        num = pl.col("num").cast(pl.Float64).fill_nan(None)
        found = rows.select("run_id", num=num, text=pl.col("text"), there=there, nan=nan)
    return found.unique("run_id", keep="last")


def _summary(aggregate: str) -> pl.Expr:
    if aggregate == "mean":
        numbers = pl.col("count") - pl.col("nan")
        return (pl.col("sum") / pl.when(numbers > 0).then(numbers)).fill_nan(None)
    return pl.col(aggregate).cast(pl.Float64).fill_nan(None)


def _labels(key: str, runs: pl.DataFrame) -> pl.DataFrame:
    """Read one label; runs share few distinct label texts, so each text is read once."""
    texts = runs["labels"].drop_nulls().unique().to_list()
    rows = [(t, *_label(t, key)) for t in texts]
    kinds = {
        "labels": pl.String,
        "num": pl.Float64,
        "text": pl.String,
        "there": pl.Boolean,
        "nan": pl.Boolean,
    }
    return (
        runs.select("run_id", "labels")
        .join(pl.DataFrame(rows, schema=kinds, orient="row"), on="labels")
        .drop("labels")
    )


def _label(text: str, key: str) -> tuple[float | None, str | None, bool, bool]:
    """Return number, text, whether there is a value, and whether it is NaN."""
    try:
        found: Any = json.loads(text)
    except ValueError:  # labels that are no JSON hold no label
        return None, None, False, False
    value = found.get(key) if isinstance(found, dict) else None
    if isinstance(value, str):
        return None, value, True, False
    if not isinstance(value, (int, float)):
        return None, None, value is not None, False
    try:
        number = float(value)
    except OverflowError:  # an integer beyond float64 is as good as infinite
        number = float("inf") if value > 0 else float("-inf")
    return (None, None, True, True) if number != number else (number, None, True, False)


def operand_of(value: Value, places: Mapping[Name, str], now_us: int) -> Operand:
    """Compile a value.

    Args:
        value: the tree.
        places: prefix of the joined columns of each dotted name.
        now_us: the instant of the query.
    """
    match value:
        case Name():
            return _column(value.key) if value.scope == "run" else _entry(places[value])
        case Literal_():
            return _literal(value)
        case Now():
            return Operand(us=pl.lit(now_us, pl.Int64))
        case Neg(inner):
            below = operand_of(inner, places, now_us)
            if below.us is not None:
                return Operand(us=-below.us, missing=below.missing)
            return _number(-_num(below), _without_number(below))
        case Arith(op, left, right):
            return _arith(op, operand_of(left, places, now_us), operand_of(right, places, now_us))


def _column(key: str) -> Operand:
    if key == "duration":
        us = _microseconds("finished_at") - _microseconds("started_at")
        return Operand(us=us, missing=us.is_null())
    kind = RUN_COLUMNS.get(key, kind_of_name(Name("run", key)))
    column = pl.col(key)
    if kind == "time":
        return Operand(us=_microseconds(key), missing=column.is_null())
    if kind == "text":
        return Operand(text=column, missing=column.is_null())
    return Operand(num=column.cast(pl.Float64), missing=column.is_null())


def _microseconds(key: str) -> pl.Expr:
    return pl.col(key).dt.cast_time_unit("us").to_physical()


def _entry(place: str) -> Operand:
    there = pl.col(f"{place}there").fill_null(False)
    nan = pl.col(f"{place}nan").fill_null(False)
    return Operand(pl.col(f"{place}num"), pl.col(f"{place}text"), None, ~there, nan)


def _literal(literal: Literal_) -> Operand:
    if literal.kind in ("time", "duration"):
        return Operand(us=pl.lit(int(literal.value), pl.Int64))
    if isinstance(literal.value, str):
        return Operand(text=pl.lit(literal.value, pl.String))
    number = float(literal.value)
    known = number == number
    return Operand(num=pl.lit(number if known else None, pl.Float64), nan=pl.lit(not known))


def _arith(op: str, left: Operand, right: Operand) -> Operand:
    if left.us is not None and right.us is not None:
        us = left.us + right.us if op == "+" else left.us - right.us
        return Operand(us=us, missing=left.missing | right.missing)
    a, b = _num(left), _num(right)
    results = {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "/": lambda: a / pl.when(b != 0).then(b),
    }
    return _number(results[op](), _without_number(left) | _without_number(right))


def _num(given: Operand) -> pl.Expr:
    return pl.lit(None, pl.Float64) if given.num is None else given.num


def _without_number(given: Operand) -> pl.Expr:
    """Whether the operand is neither a number nor NaN."""
    return _num(given).is_null() & ~given.nan


def _number(result: pl.Expr, missing: pl.Expr) -> Operand:
    num = result.fill_nan(None)
    return Operand(num=num, missing=missing, nan=~missing & num.is_null())
