"""`where` on Polars frames: the same answers as the records store gives, for runs that are still in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mlrun.where.ast import (
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
    TagIn,
    Value,
    names_in,
)
from mlrun.where.frames_values import Operand, entries_of, operand_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrun.contracts import OrderKey, RunQuery

__all__ = ["RunFrames", "select_runs", "sort_values"]


_SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~")


@dataclass(frozen=True)
class RunFrames:
    """The rows of some runs: RUNS, and TAGS, PARAMS, RESULTS and SUMMARIES in long form, hidden columns included."""

    runs: pl.DataFrame
    tags: pl.DataFrame
    params: pl.DataFrame
    results: pl.DataFrame
    summaries: pl.DataFrame


def select_runs(frames: RunFrames, query: RunQuery) -> pl.DataFrame:
    """Return the `run_id` column of the runs that `query` means, in its order; semantics in `mlrun.where.ast`."""
    roots: list[Expr | Value] = [key.name for key in query.order_by]
    if query.where is not None:
        roots.append(query.where)
    scope = _Scope(frames, query.now_us, roots)
    kept = [_visible(query)]
    if query.where is not None:
        kept.append(scope.condition(query.where))
    rows = scope.rows.filter(pl.all_horizontal(kept))
    ordered = _ordered(rows, query.order_by, scope)
    return ordered.select("run_id").slice(query.offset, query.limit)


def sort_values(
    frames: RunFrames, order: Iterable[OrderKey], now_us: int
) -> list[float | str | tuple[int] | None]:
    """Return what one run is ordered by, key by key: number, text, microseconds (in a tuple), or None where it is last.

    Args:
        frames: the rows of that run.
        order: the keys.
        now_us: the instant that `now()` means.
    """
    keys = [key.name for key in order]
    scope = _Scope(frames, now_us, keys)
    found: list[float | str | tuple[int] | None] = []
    for key in keys:
        value = scope.operand(key)
        forms = [value.num, value.text, value.us]
        columns = [(pl.lit(None) if f is None else f).alias(str(i)) for i, f in enumerate(forms)]
        num, text, us = scope.rows.select(columns).row(0)
        found.append((us,) if us is not None else text if num is None else num + 0.0)
    return found


def _visible(query: RunQuery) -> pl.Expr:
    rules = [pl.lit(True)]
    if query.project is not None:
        rules.append((pl.col("project") == pl.lit(query.project)).fill_null(False))
    if query.exclude:
        rules.append(~pl.col("run_id").is_in(list(query.exclude)))
    if not query.children:
        rules.append(pl.col("parent").is_null())
    if not query.archived:
        rules.append(pl.col("archived_at").is_null())
    if not query.deleted:
        rules.append(pl.col("deleted_at").is_null())
    return pl.all_horizontal(rules)


def _ordered(rows: pl.DataFrame, order: Iterable[OrderKey], scope: _Scope) -> pl.DataFrame:
    by: list[pl.Expr] = []
    descending: list[bool] = []
    for key in order:
        parts = _sort_columns(scope.operand(key.name))
        by += parts
        descending += [key.descending] * len(parts)
    return rows.sort([*by, pl.col("run_id")], descending=[*descending, True], nulls_last=True)


def _sort_columns(value: Operand) -> list[pl.Expr]:
    """Columns by which a value sorts; where all are null it comes last."""
    forms = [form for form in (value.num, value.text, value.us) if form is not None]
    columns = [form + 0.0 if form is value.num else form for form in forms]  # -0.0 is 0.0
    if value.num is not None and value.text is not None:
        rank = pl.when(value.num.is_not_null()).then(0).when(value.text.is_not_null()).then(1)
        return [rank, *columns]
    return columns


class _Scope:
    """One row a run, with the columns of every name that the query says joined on."""

    def __init__(self, frames: RunFrames, now_us: int, roots: Iterable[Expr | Value]) -> None:
        self.tags = frames.tags
        self.now_us = now_us
        self.rows = frames.runs
        self.places: dict[Name, str] = {}
        tables = {
            "runs": frames.runs,
            "params": frames.params,
            "results": frames.results,
            "summaries": frames.summaries,
        }
        for name in (n for root in roots for n in names_in(root)):
            if name.scope != "run" and name not in self.places:
                place = f"\0{len(self.places)}."  # no run column begins so
                entries = entries_of(name, tables)
                entries = entries.rename({c: place + c for c in entries.columns if c != "run_id"})
                self.rows = self.rows.join(entries, on="run_id", how="left")
                self.places[name] = place

    def operand(self, value: Value) -> Operand:
        return operand_of(value, self.places, self.now_us)

    def condition(self, node: Expr) -> pl.Expr:
        """Compile a condition; the expression is never null."""
        match node:
            case Logic(op, terms):
                parts = [self.condition(t) for t in terms]
                return pl.all_horizontal(parts) if op == "and" else pl.any_horizontal(parts)
            case Not(inner):
                return ~self.condition(inner)
            case Compare(op, left, right):
                return _compare(op, self.operand(left), self.operand(right))
            case InList(value, items):
                return _member(self.operand(value), items)
            case Like(value, pattern, ignore_case):
                return _like(self.operand(value), pattern, ignore_case)
            case IsNull(value):
                return self.operand(value).missing
            case IsNaN(value):
                return self.operand(value).nan
            case TagIn(tag):
                tagged = self.tags.filter(pl.col("tag") == pl.lit(tag))["run_id"].to_list()
                return pl.col("run_id").is_in(tagged)
            case Name():
                num = self.operand(node).num
                return pl.lit(False) if num is None else (num == 1.0).fill_null(False)


def _compare(op: str, left: Operand, right: Operand) -> pl.Expr:
    pairs = [(left.num, right.num), (left.text, right.text), (left.us, right.us)]
    parts = [_ordered_pair(op, a, b) for a, b in pairs if a is not None and b is not None]
    return pl.any_horizontal(parts) if parts else pl.lit(False)


def _ordered_pair(op: str, a: pl.Expr, b: pl.Expr) -> pl.Expr:
    results = {
        "=": a.eq, "!=": a.ne, "<": a.lt, "<=": a.le, ">": a.gt, ">=": a.ge,
    }  # fmt: skip
    return results[op](b).fill_null(False)


def _member(value: Operand, items: Iterable[Literal_]) -> pl.Expr:
    listed: dict[str, list[float | int | str]] = {"num": [], "text": [], "us": []}
    for item in items:
        if item.kind in ("time", "duration"):
            listed["us"].append(int(item.value))
        elif isinstance(item.value, str):
            listed["text"].append(item.value)
        else:
            listed["num"].append(float(item.value) + 0.0)
    forms = [
        (value.num, listed["num"], pl.Float64),
        (value.text, listed["text"], pl.String),
        (value.us, listed["us"], pl.Int64),
    ]
    parts = [
        form.is_in(pl.Series(allowed, dtype=kind).implode()).fill_null(False)
        for form, allowed, kind in forms
        if form is not None and allowed
    ]
    return pl.any_horizontal(parts) if parts else pl.lit(False)


def _like(value: Operand, pattern: str, ignore_case: bool) -> pl.Expr:
    if value.text is None:
        return pl.lit(False)
    return value.text.str.contains(like_regex(pattern, ignore_case)).fill_null(False)


def like_regex(pattern: str, ignore_case: bool) -> str:
    """Return the regular expression that a `like` pattern means."""
    out, escaped = [], False
    for char in pattern:
        if escaped or char not in "\\%_":
            out.append(_letter(char, ignore_case))
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            out.append(".*" if char == "%" else ".")
    return f"\\A(?s:{''.join(out)})\\z"


def _letter(char: str, ignore_case: bool) -> str:
    if ignore_case and char.isascii() and char.isalpha():
        return f"[{char.lower()}{char.upper()}]"
    return f"\\{char}" if char in _SPECIAL else char
