"""A checked query -> the words that the engine reads: every column resolved, every answer's column named."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.optimizer.qualify import qualify

from mlrun.errors import SQLError, did_you_mean
from mlrun.sqlquery.check import READ_DIALECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["engine_text"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWN = "written by the user"
_Type = exp.DataType.Type
_TIMES = (_Type.TIMESTAMP, _Type.TIMESTAMPTZ, _Type.TIMESTAMPNTZ)


class PolarsSQL(DuckDB):
    """DuckDB's words for an engine that puts null where PostgreSQL does: NULLS LAST is said where it matters."""

    NULL_ORDERING = "nulls_are_large"


def engine_text(
    tree: exp.Query, columns: Mapping[str, Sequence[str]], query: str, now_us: int
) -> str:
    """Return the text to run.

    Args:
        tree: a query that `one_select` and `tables_used` accepted; it is changed.
        columns: the column names of every table used.
        query: what the user wrote, for errors.
        now_us: the instant that `now()` means, in microseconds.

    Raises:
        SQLError: a column is not known or ambiguous.
    """
    tree = cast("exp.Query", tree.transform(_spell_function))
    _name_answers(tree)
    _lower_known(tree, {c for names in columns.values() for c in names})
    for node in tree.find_all(exp.Coalesce):
        node.meta[_OWN] = True
    schema: dict[str, object] = {
        table: dict.fromkeys(names, "UNKNOWN") for table, names in columns.items()
    }
    try:
        tree = qualify(tree, schema=schema, dialect=READ_DIALECT)
    except SqlglotError as error:
        raise _unresolved(str(error), columns, query) from error
    except RecursionError as error:
        raise SQLError("the query is nested too deeply") from error
    for select in tree.find_all(exp.Select):
        _merge_using(select)
        _narrow_joins(select)
        _distinguish(select)
    try:
        spelled = tree.transform(_spell, now_us)
        return spelled.sql(PolarsSQL, comments=False, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise SQLError(f"the query cannot be answered: {error}", query) from error


def _name_answers(tree: exp.Query) -> None:
    """Name what has no name by its own words: `max(m.value)`."""
    for select in tree.find_all(exp.Select):
        named = []
        for item in select.expressions:
            if item.is_star or isinstance(item, exp.Alias | exp.Column):
                named.append(item)
                continue
            words = item.sql(READ_DIALECT, normalize_functions="lower", comments=False)
            named.append(exp.alias_(item, words, quoted=True))
        select.set("expressions", named)


def _lower_known(tree: exp.Query, known: set[str]) -> None:
    """Write unquoted columns and aliases in the case in which they are known."""
    aliases = {a.alias for a in tree.find_all(exp.Alias)}
    folded = {**{a.lower(): a for a in aliases}, **{k.lower(): k for k in known if k == k.lower()}}
    for column in tree.find_all(exp.Column):
        name = column.this
        if (
            isinstance(name, exp.Identifier)
            and not name.quoted
            and name.name not in known | aliases
        ):
            name.set("this", folded.get(name.name.lower(), name.name))


def _unresolved(message: str, columns: Mapping[str, Sequence[str]], query: str) -> SQLError:
    found = re.search(
        r"[Cc]olumn:? '?\"?([^'\"]+?)['\"]?(?: could not|\.|$)(?:.*Line: (\d+), Col: (\d+))?",
        message,
    )
    if found is None:
        return SQLError(message.partition("\n")[0], query)
    name = found.group(1)
    named = re.search(rf"\b{re.escape(name)}\b", query)
    position = named.start() if named else None
    if found.group(2):
        lines = query.splitlines(keepends=True)[: int(found.group(2)) - 1]
        position = min(len(query), max(0, sum(map(len, lines)) + int(found.group(3)) - len(name)))
    homes = sorted(table for table, names in columns.items() if name in names)
    if len(homes) > 1:
        return SQLError(
            f"column {name!r} is in {' and '.join(homes)}: write the table before it",
            query,
            position,
        )
    every = sorted({c for names in columns.values() for c in names})
    known = f"; columns are {', '.join(every)}" if every else ": the query names no table"
    hint = did_you_mean(name, every) or known
    return SQLError(f"no column {name!r}{hint}", query, position)


def _merge_using(select: exp.Select) -> None:
    """Take a column that USING merged from one side where both are equal: filters on it reach the scans."""
    joins = select.args.get("joins") or ()
    if any(join.side in ("FULL", "RIGHT") for join in joins):
        return
    for merged in list(select.find_all(exp.Coalesce)):
        parts = [merged.this, *merged.expressions]
        if (
            _OWN not in merged.meta
            and merged.parent_select is select
            and all(isinstance(p, exp.Column) for p in parts)
        ):
            merged.replace(parts[0])


def _narrow_joins(select: exp.Select) -> None:
    """Say `a.k = 'x'` of `b.k` too where an inner join makes them equal, so that both scans are narrowed."""
    where = select.args.get("where")
    joins = select.args.get("joins") or ()
    if where is None or any(join.side or join.kind not in ("", "INNER") for join in joins):
        return
    equal: dict[str, list[exp.Expr]] = {}
    for join in joins:
        on = join.args.get("on")
        for pair in on.flatten() if isinstance(on, exp.And) else [on]:
            if (
                isinstance(pair, exp.EQ)
                and isinstance(pair.left, exp.Column)
                and isinstance(pair.right, exp.Column)
            ):
                equal.setdefault(pair.left.sql(), []).append(pair.right)
                equal.setdefault(pair.right.sql(), []).append(pair.left)
    root = where.this
    for term in list(root.flatten()) if isinstance(root, exp.And) else [root]:
        if _binds_column(term):
            for other in equal.get(term.this.sql(), ()):
                twin = term.copy()
                twin.this.replace(other.copy())
                where.set("this", exp.and_(where.this, twin, copy=False))


def _binds_column(term: exp.Expr) -> bool:
    if not isinstance(term.this, exp.Column):
        return False
    if isinstance(term, exp.EQ):
        return isinstance(term.expression, exp.Literal)
    return (
        isinstance(term, exp.In)
        and bool(term.expressions)
        and all(isinstance(e, exp.Literal) for e in term.expressions)
    )


def _distinguish(select: exp.Select) -> None:
    """Give the second column of a name its table behind it: `name`, `name:b`."""
    taken: set[str] = set()
    for number, item in enumerate(select.expressions):
        name = item.alias_or_name
        if name in taken and isinstance(item, exp.Alias):
            table = item.this.table if isinstance(item.this, exp.Column) else ""
            name = f"{name}:{table}"
            if not table or name in taken:
                name = f"{item.alias}:{number}"
            item.set("alias", exp.to_identifier(name, quoted=True))
        taken.add(name)


def _spell(node: exp.Expr, now_us: int) -> exp.Expr:
    """Replace what the engine spells differently."""
    if isinstance(node, exp.Literal) and not node.is_string:
        # A decimal point alone would make a Decimal.
        plain = "." in node.name and "e" not in node.name.lower()
        return exp.Literal.number(f"{node.name}e0") if plain else node
    if isinstance(node, exp.CurrentTimestamp) or (
        isinstance(node, exp.Anonymous) and node.name.lower() == "now"
    ):
        return _instant(now_us)
    if isinstance(node, exp.CurrentDate):
        return exp.cast(_instant(now_us), _Type.DATE)
    if isinstance(node, exp.DataType) and node.this in _TIMES:
        return exp.DataType.build("TIMESTAMPTZ", dialect="duckdb")
    if isinstance(node, exp.DataType) and node.this == _Type.INT:
        return exp.DataType.build("BIGINT", dialect="duckdb")
    if isinstance(node, exp.If | exp.Case):
        _widen(node)
    return _spell_test(node)


def _spell_function(node: exp.Expr) -> exp.Expr:
    """Keep functions by the names that the engine knows; the parser has its own for them."""
    if isinstance(node, exp.Log):
        return exp.Anonymous(this=f"log{node.this.name}", expressions=[node.expression])
    if isinstance(node, exp.RegexpLike):
        return exp.Anonymous(this="regexp_like", expressions=[node.this, node.expression])
    return node


def _spell_test(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Quantile):
        return exp.PercentileCont(this=node.this, expression=node.args["quantile"])
    if isinstance(node, exp.IsNan):
        return exp.paren(exp.EQ(this=node.this, expression=_float("NaN")))
    if isinstance(node, exp.IsInf):
        return exp.paren(exp.EQ(this=exp.Abs(this=node.this), expression=_float("inf")))
    return node


def _widen(node: exp.If | exp.Case) -> None:
    """Type whole numbers in the branches of CASE; the engine leaves them without one when it sorts by them."""
    for arg in ("true", "false", "default"):
        value = node.args.get(arg)
        if isinstance(value, exp.Literal) and value.is_int:
            node.set(arg, exp.cast(value, _Type.BIGINT))


def _instant(now_us: int) -> exp.Expr:
    text = (
        (_EPOCH + timedelta(microseconds=now_us))
        .replace(tzinfo=None)
        .isoformat(timespec="microseconds")
    )
    return exp.cast(exp.Literal.string(text), _Type.TIMESTAMPTZ)


def _float(word: str) -> exp.Expr:
    return exp.cast(exp.Literal.string(word), _Type.DOUBLE)
